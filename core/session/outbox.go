package session

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	flushAt     = 64 << 10 // bytes gathered before a write
	replyLimit  = 1 << 20  // unsent reply bytes at which the reader of the same connection waits
	keepIdle    = 512      // bytes of buffer an idle connection keeps
	writeExpiry = 30 * time.Second
)

// Filler is one thing a connection sends from: a consumer of a queue, a cursor over retained messages.
type Filler interface {
	// Fill appends what can be sent now to dst; more asks to be called again in this round. It runs on the writer
	// goroutine, one call at a time per connection, without the outbox held. Past some 64 KiB in dst it should
	// return and ask for more, so that other sources get their turn.
	Fill(dst []byte) (out []byte, more bool)
}

// Source is the place of one Filler in its outbox. It is a queue.Waker. Embed it by value and call Init once.
type Source struct {
	out    *Outbox // immutable
	fill   Filler  // immutable
	queued bool    // guarded by out.mu: in out.ready already
}

// Init ties the source to the connection it sends on.
func (s *Source) Init(out *Outbox, f Filler) { s.out, s.fill = out, f }

// Wake has the writer call Fill soon. It never blocks and may be called from any goroutine, but not between Begin and
// End.
func (s *Source) Wake() {
	o := s.out
	o.mu.Lock()
	if !s.queued && !o.finished {
		s.queued = true
		o.ready = append(o.ready, s)
		o.start()
	}
	o.mu.Unlock()
}

// Outbox is the write half of one connection: bytes its reader owes the peer, and sources that may have something to
// send. The writer goroutine exists only while there is something to write. Reply bytes and the ready list are taken
// in one critical section and deliveries only afterwards, so what was replied before a source was attached goes out
// before its first delivery.
type Outbox struct {
	// immutable
	conn net.Conn

	wrote atomic.Bool // something was written since the heart last looked
	full  atomic.Bool // replies are over replyLimit

	// guarded by mu, which is also the one lock of the session that owns the outbox. Leaf: call nothing while held.
	mu       sync.Mutex
	room     sync.Cond // replies were taken, or the writer ended
	buf      []byte    // replies
	ready    []*Source
	writing  bool   // the writer goroutine exists
	hurried  bool   // the connection is about to end: nobody waits for sources
	finished bool   // no source is asked any more
	begun    uint64 // rounds the writer has begun
	ended    uint64 // rounds whose sources have all been asked
	err      error
	expiry   time.Duration

	// writer goroutine
	lease *lease // what out is made of
	out   []byte
	round []*Source
}

// NewOutbox returns the outbox of c. A failed write closes c, so that its reader ends.
func NewOutbox(c net.Conn) *Outbox {
	o := &Outbox{conn: c, expiry: writeExpiry}
	o.room.L = &o.mu
	return o
}

// Begin locks the session and returns the reply buffer: append to it and hand it back with End. It is also how state
// that reader, writer and confirmations share is guarded.
func (o *Outbox) Begin() []byte {
	o.mu.Lock()
	return o.buf
}

// Round is another number whenever the buffer has been taken to be written: what a session appended during a round is
// still in the buffer until the next. Call it between Begin and End.
func (o *Outbox) Round() uint64 { return o.begun }

// End takes the buffer back and unlocks; new bytes are written soon.
func (o *Outbox) End(b []byte) {
	if o.err != nil {
		b = b[:0]
	}
	o.buf = b
	if len(b) > 0 {
		o.start()
		if len(b) > replyLimit {
			o.full.Store(true)
		}
	}
	o.mu.Unlock()
}

// WaitRoom blocks the reader while its replies are over a megabyte, so that a peer that floods us with requests and
// does not read the answers is slowed by its own socket. It reports whether it had to.
func (o *Outbox) WaitRoom() bool {
	if !o.full.Load() {
		return false
	}
	o.mu.Lock()
	for len(o.buf) > replyLimit && o.err == nil {
		o.room.Wait()
	}
	o.full.Store(false)
	o.mu.Unlock()
	return true
}

// AwaitTurn blocks the reader until each of the sources that was woken before has been asked what it can send. That is the
// round after the one under way at most, however many they are and whoever wakes them again. It may wait as long as the
// peer does not read, so call it only where the peer is bound to: before an answer the peer waits for. A failed write and
// Hurry end it.
func (o *Outbox) AwaitTurn(sources ...*Source) {
	o.mu.Lock()
	defer o.mu.Unlock()
	turn := o.begun
	if slices.ContainsFunc(sources, func(s *Source) bool { return s.queued }) {
		turn++
	}
	for o.ended < turn && o.err == nil && !o.hurried && !o.finished {
		o.room.Wait()
	}
}

// waitUntil blocks the reader until done says so, or the peer cannot be written to any more. done is called with the
// outbox held, now and after each nudge.
func (o *Outbox) waitUntil(done func() (bool, error)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.err == nil {
		if ok, err := done(); ok {
			return err
		}
		o.room.Wait()
	}
	return o.err
}

// nudge has waitUntil ask again.
func (o *Outbox) nudge() {
	o.mu.Lock()
	o.room.Broadcast()
	o.mu.Unlock()
}

// Finish stops the sources, gives the replies at most d to reach the peer and waits for the writer. When it returns
// no Fill runs or will run. Replies appended later are written by Finish's next call.
func (o *Outbox) Finish(d time.Duration) {
	o.Hurry(d)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.finished = true // within a round as well
	for _, s := range o.ready {
		s.queued = false
	}
	o.ready = nil
	for o.writing { // also a writer that a confirm has just started anew
		o.room.Wait()
	}
}

// Hurry gives every write from now on, the one under way among them, at most d: the connection is about to end, and
// nobody shall wait longer for a peer that does not read. Nor does AwaitTurn wait any more: a round is many writes.
func (o *Outbox) Hurry(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expiry = d
	o.hurried = true
	o.room.Broadcast()
	_ = o.conn.SetWriteDeadline(time.Now().Add(d)) // fails on a closed connection only, whose writes end at once
}

// start runs the writer unless it runs already. mu is held.
func (o *Outbox) start() {
	if o.writing || o.err != nil {
		return
	}
	o.writing = true
	go o.write() // Finish waits for it
}

// write is the writer goroutine.
func (o *Outbox) write() {
	more := o.round[:0]
	for {
		o.mu.Lock()
		o.ended = o.begun
		if o.out == nil {
			o.lease, o.out = borrow()
		}
		o.out = append(o.out, o.buf...)
		o.buf = o.buf[:0]
		for _, s := range more { // those that asked for another turn go behind those woken meanwhile
			if !s.queued && !o.finished {
				s.queued = true
				o.ready = append(o.ready, s)
			}
		}
		o.ready, o.round = more[:0], o.ready
		for _, s := range o.round {
			s.queued = false
		}
		if len(o.round) == 0 && len(o.out) == 0 {
			o.idle()
			o.mu.Unlock()
			return
		}
		o.begun++
		o.room.Broadcast()
		o.mu.Unlock()

		var err error
		more, err = o.fillRound()
		if err == nil && (len(more) == 0 || len(o.out) >= flushAt) {
			err = o.flush()
		}
		if err != nil { // part of it may have left: nothing can follow
			o.fail(err)
			return
		}
	}
}

// fillRound asks every source of the round once, unless the outbox is finished meanwhile, and returns those that have more.
func (o *Outbox) fillRound() (more []*Source, err error) {
	keep := o.round[:0]
	for _, s := range o.round {
		out, again := s.fill.Fill(o.out)
		o.out = out
		if again {
			keep = append(keep, s)
		}
		if len(o.out) >= flushAt {
			if err := o.flush(); err != nil {
				return nil, err
			}
			if o.isFinished() {
				keep = keep[:0]
				break
			}
		}
	}
	clear(o.round[len(keep):])
	return keep, nil
}

func (o *Outbox) isFinished() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.finished
}

// flush writes what is gathered.
func (o *Outbox) flush() error {
	if len(o.out) == 0 {
		return nil
	}
	o.mu.Lock() // a deadline that Hurry shortens must not be moved out again by one computed before
	err := o.conn.SetWriteDeadline(time.Now().Add(o.expiry))
	o.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := o.conn.Write(o.out); err != nil {
		return err
	}
	o.out = o.out[:0]
	o.wrote.Store(true)
	return nil
}

// idle ends the writer and gives back large buffers: an idle connection keeps its struct and little else. mu is held.
func (o *Outbox) idle() {
	o.writing = false
	o.lease.giveBack(o.out)
	o.lease, o.out = nil, nil
	if cap(o.buf) > keepIdle {
		o.buf = nil
	}
	o.room.Broadcast()
}

// fail ends the outbox: the peer is gone or does not read.
func (o *Outbox) fail(err error) {
	o.mu.Lock()
	o.err = err
	o.writing = false
	o.buf, o.out, o.lease, o.ready, o.round = nil, nil, nil, nil, nil
	o.room.Broadcast()
	o.mu.Unlock()
	_ = o.conn.Close()
}
