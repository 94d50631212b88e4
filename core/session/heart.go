package session

import (
	"io"
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

	reading  atomic.Bool // the reader waits for the peer
	received atomic.Bool // something arrived since the last look

	// guarded by mu
	mu      sync.Mutex
	sender  *time.Timer
	watcher *time.Timer
	silent  int
	stopped bool
}

// looks is how often per silence period the watcher looks: a dead peer is noticed at most a tenth late.
const looks = 10

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

// Read reads from source on behalf of the connection's reader and keeps account of the peer's silence. While the
// reader is not in here it is busy with what the peer has sent, or held back by a full disk or memory: that is not
// the peer's silence. A nil heart just reads.
func (h *Heart) Read(source io.Reader, b []byte) (int, error) {
	if h == nil {
		return source.Read(b)
	}
	h.reading.Store(true)
	n, err := source.Read(b)
	h.reading.Store(false)
	if n > 0 {
		h.received.Store(true)
	}
	return n, err
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
	if h.received.Swap(false) || !h.reading.Load() {
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
