// Package websocket serves byte streams over WebSocket (RFC 6455): it answers the request to upgrade and makes of the
// frames a net.Conn. Protocols that are byte streams themselves do not care where messages begin: several packets come in
// one, and one packet in several. It does not know those protocols, only their names. The frames are coder/websocket's.
package websocket
