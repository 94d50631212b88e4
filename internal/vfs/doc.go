// Package vfs defines the few operations on files that a durable store needs, with three implementations: the
// operating system's, one in memory that can lose power, and a wrapper that makes any of them fail, stall or stop at a
// chosen operation. It knows nothing of what is stored.
package vfs
