package queue

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tridge/core/confirm"
	"tridge/core/message"
)

var (
	ErrFull      = errors.New("queue: at its limit")
	ErrBuried    = errors.New("queue: at its limit, the message has become a dead letter")
	ErrClosed    = errors.New("queue: closed")
	ErrExclusive = errors.New("queue: in exclusive use by another consumer")
)

// Local is a queue: a mutex, a list of positions in the log, the subscriptions that take from it, and limits. It keeps
// no map of what is out with consumers: a Delivery is a token that its holder settles.
type Local struct {
	name string // immutable

	// obeyed changes with mu held (Obey) and is read with or without: what is read twice without may differ. The log,
	// the pager and the clock are always the same.
	obeyed atomic.Pointer[Laws]

	// guarded by mu. Leaf: nothing is called while it is held, wakes and dead letters happen after.
	mu        sync.Mutex
	ready     levels
	accounted int64  // of ready.cached, what the budget knows of
	order     uint64 // of the entry put last
	passed    uint64 // order at the end of the last Take: what is urgent up to here has had its chance
	unacked   int
	subs      []*Subscription // consumers, polls not among them
	active    *Subscription   // the one that gets messages, if only one does
	waiting   []*Subscription // consumers to be woken, longest waiting first
	selective int32           // consumers that test each message, see Subscription.selects
	soles     int32           // consumers that want to be the only one
	groups    *groups         // nil: no consumer has met a message of a group
	ranked    bool            // consumers of different priorities exist
	closed    bool
	counts    counts
	timing    *timing // nil: nothing expires, or has so far

	mark Mark // of what has been taken
}

// New returns an empty queue with laws of its own. id 0 keeps messages in memory only; log may then be nil.
func New(name string, id uint32, log Log, o Options) *Local { return NewLaws(log, o).Queue(name, id) }

// Queue returns an empty queue under these laws. id 0 keeps messages in memory only.
func (l *Laws) Queue(name string, id uint32) *Local {
	q := &Local{name: name, mark: Mark{queue: id}}
	q.obeyed.Store(l)
	q.ready.init(q)
	q.renew()
	q.arm(0)
	return q
}

// laws are those the queue obeys now.
func (q *Local) laws() *Laws { return q.obeyed.Load() }

// Name is the name the queue was declared with.
func (q *Local) Name() string { return q.name }

// ID is what the log calls this queue; 0 when its messages are not in the log.
func (q *Local) ID() uint32 { return q.mark.queue }

// Put adds a message that is in the log at position at, or nowhere when at is zero. ErrFull and ErrClosed mean that
// the queue has not taken it: the caller then acknowledges its reference in the log. ErrBuried means that the queue
// has refused it and disposed of the reference.
func (q *Local) Put(m *message.Message, at Pos) error { return q.putOr(m, at, true) }

// PutOver is Put of what Fits has let pass before: the queue does not refuse it.
func (q *Local) PutOver(m *message.Message, at Pos) error { return q.putOr(m, at, false) }

// Fits reports whether the queue would take so many more messages of so many bytes in all without refusing one.
func (q *Local) Fits(messages int, bytes int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.laws().Overflow == DropHead || !q.over(messages, bytes)
}

func (q *Local) putOr(m *message.Message, at Pos, refuse bool) error {
	left, err := q.put(m, at, refuse)
	if len(left) > 0 {
		// What cannot leave is back in its place, and the next Put tries again. The new message is here in any case.
		_, _ = q.leave(left, LengthLimit)
	}
	return err
}

// Deposit is Put for whoever hands over dead letters: messages that this one makes dead letters are returned, to be
// handed over by Bury when their turn comes, and not from within.
func (q *Local) Deposit(m *message.Message, at Pos) (left []Delivery, err error) {
	left, err = q.put(m, at, true)
	if len(left) > 0 && q.laws().DeadLetter == nil {
		_, _ = q.leave(left, LengthLimit)
		left = nil
	}
	return left, err
}

// Bury hands over what Deposit returned. handOver is as Options.DeadLetter.
func (q *Local) Bury(ds []Delivery, why Reason, handOver func([]Delivery, Reason) (confirm.Receipt, error)) error {
	_, err := q.leaveBy(ds, why, handOver)
	return err
}

// put is Put without the end of those that leave for it, which it returns. refuse has the limit count.
func (q *Local) put(m *message.Message, at Pos, refuse bool) (left []Delivery, err error) {
	size := len(m.Body)
	q.mu.Lock()
	switch {
	case q.closed:
		q.mu.Unlock()
		return nil, ErrClosed
	case refuse && q.laws().Overflow != DropHead && q.over(1, int64(size)):
		return q.refuse(m, at)
	case !m.Durable() && q.behind(int64(size)):
		q.counts.lost().dropped++
		q.mu.Unlock()
		return nil, nil
	}
	e := entry{message: m, pos: at, expires: m.Expires, size: uint32(size), extra: extraOf(m)}
	clock := m.Time
	if q.laws().HasTTL {
		clock = now()
		e.expires = q.deadline(m.Expires, clock)
	}
	if e.expires != 0 && e.expires <= clock && q.hungry() > 0 {
		e.flags = urgent
	}
	q.shed(&e)
	q.add(e, m.Priority)
	dropped := q.overflowing()
	q.account()
	q.arm(0)
	wake := q.nextWaiting()
	also := q.selectiveWaiting()
	q.mu.Unlock()

	if wake != nil {
		wake.waker.Wake()
	}
	for _, s := range also {
		s.waker.Wake()
	}
	q.laws().pager.help()
	return dropped, nil
}

// refuse answers a message that does not fit. mu is held, and released.
func (q *Local) refuse(m *message.Message, at Pos) (left []Delivery, err error) {
	q.counts.lost().refused++
	if q.laws().Overflow != RefuseDeadLetter || q.laws().DeadLetter == nil {
		q.mu.Unlock()
		return nil, ErrFull
	}
	// It leaves as if it had been here: should it not get away it stays, over the limit rather than lost.
	q.order++
	e := entry{pos: at, order: q.order}
	q.unacked++
	d := Delivery{Message: m, ID: e.id(), pos: at, order: q.order, expires: q.deadline(m.Expires, m.Time),
		size: uint32(len(m.Body)), extra: extraOf(m),
		level: min(m.Priority, q.laws().MaxPriority)}
	q.mu.Unlock()
	return []Delivery{d}, ErrBuried
}

// add appends an entry to those of its priority. mu is held.
func (q *Local) add(e entry, priority uint8) {
	q.order++
	e.order = q.order
	if l := q.ready.at(min(priority, q.laws().MaxPriority)); q.chills(l, &e) {
		q.chill(l, &e)
	} else {
		l.push(e)
	}
	q.counts.published++
}

// takeOut turns an entry into the token d. mu is held.
func (q *Local) takeOut(d *Delivery, p place) {
	e := p.entry()
	*d = Delivery{Message: e.message, ID: e.id(), Attempts: e.attempts, pos: e.pos, order: e.order, expires: e.expires, size: e.size,
		extra: e.extra, flags: e.flags, level: p.l.priority}
	q.ready.remove(p)
	q.unacked++
}

// takenOut is takeOut behind other tokens.
func (q *Local) takenOut(ds []Delivery, p place) []Delivery {
	ds = append(ds, Delivery{})
	q.takeOut(&ds[len(ds)-1], p)
	return ds
}

// putBack returns a token to its place. mu is held.
func (q *Local) putBack(d *Delivery) {
	q.unacked--
	e := entry{message: d.Message, pos: d.pos, order: d.order, expires: d.expires, size: d.size, extra: d.extra,
		flags: d.flags & undated, attempts: d.Attempts}
	if e.extra == 0 && e.message != nil { // read back from the log
		e.extra = extraOf(e.message)
	}
	q.shed(&e)
	q.ready.at(d.level).insert(e)
	q.account()
	q.arm(0)
	for _, s := range q.subs {
		if !s.selects() {
			continue
		}
		s.cursors.rewind(d.level, d.order)
	}
	if q.timing != nil && q.timing.stuck != nil {
		q.timing.stuck.rewind(d.level, d.order)
	}
}

// transientID marks the ids of messages that are not in the log.
const transientID = 1 << 63

func (e *entry) id() uint64 {
	if e.pos.Seq != 0 {
		return e.pos.Seq
	}
	return e.order | transientID
}

// Stats returns the counters as of now.
func (q *Local) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := &q.counts
	s := Stats{
		Ready: q.ready.len, Unacked: q.unacked, Consumers: len(q.subs), Bytes: q.ready.bytes, Cached: q.ready.cached,
		Published: c.published, Delivered: c.delivered, Redelivered: c.redelivered, Acked: c.acked,
	}
	if l := c.losses; l != nil {
		s.Expired, s.Dropped, s.DeadLettered, s.Refused, s.Unreadable = l.expired, l.dropped, l.deadLettered, l.refused, l.unreadable
	}
	return s
}

// positions is scratch space for one call into the log.
type positions struct{ list []Pos }

// scratch lends position lists to settling goroutines: a subscription is settled by its reader and its writer, and the
// list must not be shared while the log reads it.
type scratch struct{ free atomic.Pointer[positions] }

func (s *scratch) get() *positions {
	if p := s.free.Swap(nil); p != nil {
		return p
	}
	return new(positions)
}

// keepPositions is how many positions of memory a subscription keeps: one that has acknowledged a hundred thousand
// messages at once must not hold 2 MB for the next time.
const keepPositions = 256

func (s *scratch) put(p *positions) {
	if cap(p.list) > keepPositions {
		return
	}
	p.list = p.list[:0]
	s.free.Store(p)
}

// ackWith tells the log that tokens are done.
func (q *Local) ackWith(s *scratch, ds []Delivery) (confirm.Receipt, error) {
	if q.ID() == 0 {
		return confirm.Receipt{}, nil
	}
	p := s.get()
	p.list = slices.Grow(p.list, len(ds))
	for i := range ds {
		if ds[i].pos.Seq != 0 {
			p.list = append(p.list, ds[i].pos)
		}
	}
	receipt, err := q.ackAll(p.list)
	s.put(p)
	return receipt, err
}

func (q *Local) ackAll(ps []Pos) (confirm.Receipt, error) {
	if len(ps) == 0 {
		return confirm.Receipt{}, nil
	}
	return q.laws().log.Ack(q.ID(), ps)
}

// now is the wall clock in Unix milliseconds, the unit of deadlines.
func now() int64 { return time.Now().UnixMilli() }
