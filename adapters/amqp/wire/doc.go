// Package wire reads and writes the bytes of AMQP 0-9-1: frames, methods, content headers. It knows the grammar and
// nothing of connections, channels or queues: which method may follow which, and what a method does, is its caller's
// business. The methods are generated from gen/methods.txt.
//
// Encoding appends to a slice the caller owns; decoding slices bytes the caller owns. Nothing here uses reflection,
// and only Decode, which is for tests and tools, allocates.
package wire

//go:generate go run ./gen -o methods_gen.go
