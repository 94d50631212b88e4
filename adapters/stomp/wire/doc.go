// Package wire reads and writes STOMP frames in the three versions of the protocol: where a frame begins and ends, how
// its headers are escaped, and what bounds it. It does not know what a frame means, nor sockets, sessions or messages.
package wire
