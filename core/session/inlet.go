package session

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Inlet is the read half of one connection and the only owner of its read deadline. Three things are told to a reader
// that waits for its peer by a deadline in the past: that the connection is to end, that the handshake took too long,
// and that the gate has changed. The last one is dealt with in here and never seen by who reads.
type Inlet struct {
	// immutable
	conn net.Conn
	out  *Outbox
	gate *Gate
	// release publishes what was parked. It runs on the reader's goroutine, also from within Read, when the gate has
	// opened; its error ends the read.
	release func() error

	heart   atomic.Pointer[Heart] // nil until there is one
	watcher Watcher

	mu    sync.Mutex // leaf but for the connection's deadline
	until time.Time  // the handshake's
	woken bool       // the gate has changed
	ended bool       // Interrupt was called
}

// ErrInterrupted is the result of waiting for a gate on a connection that is about to end.
var ErrInterrupted = errors.New("session: interrupted")

// Init ties the inlet to its connection. gate may be nil; release may be nil when nothing is ever parked.
func (in *Inlet) Init(conn net.Conn, out *Outbox, gate *Gate, release func() error) {
	in.conn, in.out, in.gate, in.release = conn, out, gate, release
}

// Beat has the heart keep account of the peer's silence from now on.
func (in *Inlet) Beat(h *Heart) { in.heart.Store(h) }

// Heart returns what Beat was given; nil before.
func (in *Inlet) Heart() *Heart { return in.heart.Load() }

// Within has every read fail with os.ErrDeadlineExceeded after d; 0 lifts it.
func (in *Inlet) Within(d time.Duration) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.until = time.Time{}
	if d > 0 {
		in.until = time.Now().Add(d)
	}
	if in.ended {
		return nil
	}
	return in.conn.SetReadDeadline(in.until)
}

// Handshake is Within for d counted from when the connection was accepted: what TLS or a proxy took of it is gone.
func (in *Inlet) Handshake(d time.Duration) error {
	if c, ok := find[*countedConn](in.conn); ok {
		d = max(d-time.Since(c.accepted), time.Nanosecond)
	}
	return in.Within(d)
}

// Interrupt has the read under way, every later one and every wait for the gate fail: the connection is about to end.
// It may be called from any goroutine. Who lingers for the peer's last words afterwards uses the connection itself.
func (in *Inlet) Interrupt() {
	in.mu.Lock()
	in.ended = true
	_ = in.conn.SetReadDeadline(time.Unix(1, 0)) // a closed connection has returned already
	in.mu.Unlock()
	in.out.nudge()
}

// Interrupted reports whether Interrupt was called.
func (in *Inlet) Interrupted() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ended
}

// Shut returns what the gate is shut for. When it is, the reader is from now on woken by what changes.
func (in *Inlet) Shut() Shortage {
	s := in.gate.Shut()
	if s != 0 {
		in.Watch(in.Wake)
		s = in.gate.Shut() // it may have opened before the watch began
	}
	return s
}

// Watch is Gate.Watch for this connection. changed must call Wake.
func (in *Inlet) Watch(changed func()) { in.gate.Watch(&in.watcher, changed) }

// Unwatch ends Watch.
func (in *Inlet) Unwatch() { in.gate.Unwatch(&in.watcher) }

// Wake has the reader look at the gate.
func (in *Inlet) Wake() {
	in.mu.Lock()
	if !in.ended {
		in.woken = true
		_ = in.conn.SetReadDeadline(time.Unix(1, 0))
	}
	in.mu.Unlock()
	in.out.nudge()
}

// Read reads through the heart. When the gate opens meanwhile, what was parked is released first.
func (in *Inlet) Read(b []byte) (int, error) {
	for {
		n, err := in.heart.Load().Read(in.conn, b)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !in.roused() {
			return n, err
		}
		if in.gate.Shut() == 0 && in.release != nil {
			if err := in.release(); err != nil {
				return 0, err
			}
		}
	}
}

// roused reports whether a read failed because of Wake, and if so has the next one wait for the peer again.
func (in *Inlet) roused() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.woken || in.ended {
		return false
	}
	in.woken = false
	return in.conn.SetReadDeadline(in.until) == nil
}

// WaitOpen blocks the reader until the gate is open. It reads nothing meanwhile, so that the peer's writes block, and
// the heart does not take that for silence. It fails when the connection is about to end, or cannot be written to.
func (in *Inlet) WaitOpen() error {
	if in.Shut() == 0 {
		return nil
	}
	return in.out.waitUntil(func() (done bool, err error) {
		if in.Interrupted() {
			return true, ErrInterrupted
		}
		return in.gate.Shut() == 0, nil
	})
}
