package main

import (
	"os"
	"runtime/debug"

	"tridge/config"
	"tridge/core/broker"
)

// heapFloor is the size of a block that is never touched. The garbage collector starts when the heap has doubled: with
// the few megabytes a gateway keeps alive it would start dozens of times a second under load, because every message
// that passes is garbage a moment later. The block counts as alive, so that collections are at least its size apart; it
// is never written, so that the system gives it no memory. The price is up to that much garbage before it is collected
// (ADR 0016).
const heapFloor = 64 << 20

// newHeapFloor returns the block. Whoever holds it keeps the floor.
func newHeapFloor() []byte { return make([]byte, heapFloor) }

// memoryLimit is the resident memory, in bytes, over which publishers are held back; 0 is no limit.
func memoryLimit(a config.Alarms) int64 {
	if a.MemoryLimit > 0 {
		return a.MemoryLimit
	}
	return broker.MemoryShare(a.MemoryShare)
}

// limitHeap has the garbage collector work harder as memory comes near the limit, so that garbage alone never holds
// publishers back. The runtime counts the floor, which the system does not. Who sets GOMEMLIMIT knows better.
func limitHeap(limit int64) {
	if limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit - limit/10 + heapFloor)
	}
}
