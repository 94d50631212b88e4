package main

// heapFloor is the size of a block that is never touched. The garbage collector starts when the heap has doubled: with
// the few megabytes a gateway keeps alive it would start dozens of times a second under load, because every message
// that passes is garbage a moment later. The block counts as alive, so that collections are at least its size apart; it
// is never written, so that the system gives it no memory. The price is up to that much garbage before it is collected
// (ADR 0016).
const heapFloor = 64 << 20

// newHeapFloor returns the block. Whoever holds it keeps the floor.
func newHeapFloor() []byte { return make([]byte, heapFloor) }
