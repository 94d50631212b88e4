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
// is never written, so that the system gives it no memory.
//
// For a heap that is much larger than the block, doubling is too much: the collector starts when it has grown by half. So
// garbage is at most half the block and half of what lives (ADR 0016).
const (
	heapFloor  = 128 << 20
	heapGrowth = 50 // percent
)

// newHeapFloor returns the block. Whoever holds it keeps the floor.
func newHeapFloor() []byte { return make([]byte, heapFloor) }

// setHeapGrowth has the garbage collector start when the heap, the floor in it, has grown by heapGrowth. Who sets GOGC
// knows better.
func setHeapGrowth() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
}

// forgetStart gives back the memory that only the start has needed: over a large log that is some 100 MB, which would stay
// until the heap has grown by half. It is called when everybody can connect, and nobody waits for it.
func forgetStart() { debug.FreeOSMemory() }

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
