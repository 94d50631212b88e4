// Package wal keeps messages, acknowledgements and rows in an append-only log of segment files and says when they are
// safe: it is the queue.Log of a machine with a disk. What many goroutines append while the disk is busy becomes the
// next batch, written and synced as one. format.md draws the bytes and gives the rules of recovery and of removal.
//
// The package knows queues by number and messages by their encoding. It does not know what a queue is, who waits for
// a message, or what a row means.
package wal
