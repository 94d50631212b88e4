// Package message defines the one unit of transfer that every protocol is translated into and out of, and its
// encoding. It knows no protocol, no disk and no queue: an adapter builds a Message once on the way in, every queue
// and the log share that value, and another adapter reads it on the way out. format.md draws the bytes.
package message
