// Package wiretest replays golden conversations against one end of a connection, in virtual time, and compares what
// the server says byte for byte. With the flag -rewrite it writes down what the server says instead. It does not know
// any protocol, nor any other package of the gateway.
//
// A conversation is a text file:
//
//	# A comment.
//	C: "AMQP" 00 00 09 01    bytes the client sends: quoted Go strings and hexadecimal
//	S: 01 00 00 "text" ce    bytes the server must have sent when nothing moves any more
//	T: 10s                   time passes
//	S: close                 the server must have closed the connection
//	C: close                 the client closes the connection
//
// S: lines follow the C: or T: line that brings them about; where there is none the server must be silent. Where the
// lines of an answer end is a matter of taste: all of them together are compared.
package wiretest
