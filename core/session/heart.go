package session

import (
	"sync"
	"sync/atomic"
	"time"
)

// Heart keeps both directions of one connection alive: it sends a beat when nothing else was written, and tells of a
// peer that fell silent. It costs a timer per direction and nothing per message.
type Heart struct {
	// immutable
	out  *Outbox
	beat func()
	dead func()

	received atomic.Bool // something arrived since the last look

	// guarded by mu
	mu      sync.Mutex
	sender  *time.Timer
	watcher *time.Timer
	silent  int
	stopped bool
}

// looks is how often per silence period the watcher looks: a dead peer is noticed at most a quarter late.
const looks = 4

// NewHeart starts beating. beat is called whenever nothing was written for send; dead is called once when nothing
// arrived for silence. Either is off at 0. Both run on their own goroutine and may use the outbox.
func NewHeart(out *Outbox, send, silence time.Duration, beat, dead func()) *Heart {
	h := &Heart{out: out, beat: beat, dead: dead}
	h.mu.Lock()
	defer h.mu.Unlock()
	if send > 0 {
		h.sender = time.AfterFunc(send/2, func() { h.send(send / 2) })
	}
	if silence > 0 {
		h.watcher = time.AfterFunc(silence/looks, func() { h.watch(silence / looks) })
	}
	return h
}

// Received tells that bytes arrived. It is called once per read, not per message.
func (h *Heart) Received() {
	if !h.received.Load() {
		h.received.Store(true)
	}
}

// Stop ends the heart. A beat already under way may still be sent.
func (h *Heart) Stop() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	if h.sender != nil {
		h.sender.Stop()
	}
	if h.watcher != nil {
		h.watcher.Stop()
	}
}

func (h *Heart) send(every time.Duration) {
	if !h.out.wrote.Swap(false) {
		h.beat()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopped {
		h.sender.Reset(every)
	}
}

func (h *Heart) watch(every time.Duration) {
	h.mu.Lock()
	if h.received.Swap(false) {
		h.silent = 0
	} else {
		h.silent++
	}
	over := h.silent >= looks && !h.stopped
	if over {
		h.stopped = true
	} else if !h.stopped {
		h.watcher.Reset(every)
	}
	h.mu.Unlock()
	if over {
		h.dead()
	}
}
