// Package auth decides who a peer is and what it may touch. It knows no sockets and no protocols: adapters hand it
// what the peer said and where it connected from.
package auth
