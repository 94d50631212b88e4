package router

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
)

// A delayed message is in the log on behalf of a queue that nobody else knows, one for each virtual host, under its own
// exchange and key. Its record's deadline is the time it is due, so that a start knows that without reading it; the time
// it may live after that is in its head (message.Lifetime). When it is due one record ends it there and publishes it.

const (
	// MaxDelay is the longest delay that is accepted, in milliseconds: ten years.
	MaxDelay = 10 * 365 * 24 * 60 * 60 * 1000

	// DelayHeader is the header that an exchange of type DelayedType reads.
	DelayHeader = "x-delay"
	// DelayedType is the name of the type of exchanges that delay; their argument DelayedArgument is the type by which they route.
	DelayedType     = "x-delayed-message"
	DelayedArgument = "x-delayed-type"
)

// unreadableAgain is how long, in milliseconds, a delayed message that cannot be read waits to be tried again.
const unreadableAgain = 60_000

// delayed is what a router knows of messages that are not to be routed yet.
type delayed struct {
	list      *queue.Delayed
	publisher *Publisher // of release, so of the clock's goroutine

	mu  sync.Mutex // taken with no other lock held; the log is written to under it
	ids []uint32   // the one queue on whose behalf they are in the log, nil as long as there was none
}

// PublishAfter is Publish of a message that is to be routed in so many milliseconds, as if it were published then: its
// time to live begins then, too, and what nobody wants by then is dropped with a count. The receipt is safe when the
// message is. A delay of 0 or less is none.
//
// Now the exchange must exist and take messages: that is the *Error, or one that wraps ErrDelay. The result is Routed.
func (p *Publisher) PublishAfter(delay int64, m *message.Message, rows ...queue.Row) (Result, confirm.Receipt, error) {
	if delay <= 0 {
		return p.Publish(m, rows...)
	}
	m = p.redirected(m)
	if _, err := p.route(m, nil); err != nil {
		return Unroutable, confirm.Receipt{}, err
	}
	return p.hold(delay, m, nil, rows)
}

// hold keeps m, and the further keys it is to be routed under, for so many milliseconds.
func (p *Publisher) hold(delay int64, m *message.Message, also []string, rows []queue.Row) (Result, confirm.Receipt, error) {
	r := p.router
	if delay > MaxDelay {
		return Unroutable, confirm.Receipt{}, r.exchangeError(ErrDelay, m.Exchange)
	}
	clock := time.Now().UnixMilli()
	held := queue.Held{Due: clock + delay, Message: heldForm(m, also, clock+delay)}
	var receipt confirm.Receipt
	var err error
	switch {
	case m.Durable():
		var ids []uint32
		if ids, err = r.delayedIDs(); err == nil {
			held.Pos, receipt, err = r.log.Append(held.Message, ids, rows...)
		}
	case len(rows) > 0:
		receipt, err = r.write(&queue.Tx{Rows: rows})
	}
	if err != nil {
		return Refused, confirm.Receipt{}, err
	}
	if held.Pos.Seq != 0 {
		held.Message = nil
	}
	r.delayed.list.Put(held)
	return Routed, receipt, nil
}

// delayedIDs returns the id of the queue of delayed messages, which is declared with the first of them.
func (r *Router) delayedIDs() ([]uint32, error) {
	d := &r.delayed
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids != nil {
		return d.ids, nil
	}
	id, rows := r.nextID()
	rows = append(rows, queue.Row{Table: queue.TableTopology, Key: rowKey(r.name, kindDelayed, ""), Value: rowValue(id)})
	if _, err := r.write(&queue.Tx{Rows: rows}); err != nil { // safe before any message that comes after it
		return nil, err
	}
	d.ids = []uint32{id}
	return d.ids, nil
}

// Delayed returns where delayed messages found in the log are put at start, and what the log calls that place: 0 when
// there never was one.
func (r *Router) Delayed() (id uint32, list *queue.Delayed) {
	d := &r.delayed
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids != nil {
		id = d.ids[0]
	}
	return id, d.list
}

func (r *Router) restoreDelayed(value []byte) error {
	var id uint32
	if err := json.Unmarshal(value, &id); err != nil {
		return err
	}
	r.delayed.mu.Lock()
	defer r.delayed.mu.Unlock()
	r.delayed.ids = []uint32{id}
	return nil
}

// heldForm is m as it waits until due. The further keys are kept beside its headers: those of BCC are not in them.
func heldForm(m *message.Message, also []string, due int64) *message.Message {
	held := *m
	held.Expires = due
	if len(also) > 0 {
		var head message.Head
		for _, key := range also {
			head = message.AppendString(head, message.FurtherKey, key)
		}
		held.Head = append(head, m.Head...)
	}
	if m.Expires != 0 {
		head := message.AppendInt(make(message.Head, 0, 10+len(held.Head)), message.Lifetime, max(m.Expires-m.Time, 0))
		held.Head = append(head, held.Head...)
	}
	return &held
}

// releasedForm undoes heldForm at the time of the release.
func releasedForm(held *message.Message, clock int64) (m *message.Message, also []string) {
	released := *held
	m = &released
	m.Time, m.Expires = clock, 0
	lifetime, mortal := held.Head.Int(message.Lifetime)
	_, copied := held.Head.Bytes(message.FurtherKey)
	if !mortal && !copied {
		return m, nil
	}
	if mortal {
		m.Expires = math.MaxInt64
		if lifetime < math.MaxInt64-clock {
			m.Expires = clock + lifetime
		}
	}
	head := make(message.Head, 0, len(held.Head))
	for p, v := range held.Head.All() {
		switch p {
		case message.Lifetime:
		case message.FurtherKey:
			also = append(also, string(v))
		default:
			head = message.AppendBytes(head, p, v)
		}
	}
	m.Head = append(head, held.Head[len(held.Head.Properties()):]...)
	return m, also
}

// release publishes delayed messages that are due: one record ends them where they waited and has them where they go. Those
// that cannot be read are returned. One alone that does not fit a record with all it goes to is dropped: it never will.
func (r *Router) release(due []queue.Held) (back []queue.Held, err error) {
	back, err = r.releaseAll(due, false)
	if len(due) > 1 || !errors.Is(err, queue.ErrTooLarge) {
		return back, err
	}
	r.slog.Error("delayed message too large for one record of the log: dropped", "vhost", r.name, "seq", due[0].Pos.Seq, "err", err)
	return r.releaseAll(due, true)
}

// releaseAll is release of messages that share a record. With drop they only end where they waited.
func (r *Router) releaseAll(due []queue.Held, drop bool) (back []queue.Held, err error) {
	p := r.delayed.publisher
	defer p.tx.Reset()
	clock := time.Now().UnixMilli()
	var ended []queue.Pos
	var moves []move
	dropped := 0
	var gone error // of the last one whose exchange is not there any more
	for _, h := range due {
		if drop {
			dropped++
			if h.Pos.Seq != 0 {
				ended = append(ended, h.Pos)
			}
			continue
		}
		if h.Message == nil {
			if h.Message, err = r.log.Read(h.Pos); err != nil {
				r.slog.Error("delayed message not read: it goes on waiting", "vhost", r.name, "seq", h.Pos.Seq, "err", err)
				back = append(back, queue.Held{Due: clock + unreadableAgain, Pos: h.Pos})
				continue
			}
			ended = append(ended, h.Pos)
		}
		m, also := releasedForm(h.Message, clock)
		route, err := p.route(m, also)
		if err != nil {
			dropped++
			gone = err
			continue
		}
		wanted := false
		if moves, wanted = p.planRelease(moves, m, route); !wanted {
			dropped++
		}
	}
	if len(ended) > 0 {
		p.tx.Acks = append(p.tx.Acks, queue.Refs{Queue: r.delayed.ids[0], Pos: ended})
	}
	p.pos = p.pos[:0]
	if len(p.tx.Acks) > 0 || len(p.tx.Publishes) > 0 {
		if p.pos, _, err = r.log.AppendTx(&p.tx, p.pos); err != nil {
			return nil, err
		}
	}
	if gone != nil {
		r.slog.Warn("delayed messages dropped", "vhost", r.name, "err", gone)
	}
	for _, to := range moves {
		var at queue.Pos
		if to.record >= 0 {
			at = p.pos[to.record]
		}
		if to.keep {
			r.retainer.Keep(to.message, at)
		}
		if !to.message.Durable() {
			at = queue.Pos{} // the record was for the retained row
		}
		if p.put(to.message, at, to.queues) == Refused {
			dropped++
		}
	}
	r.counters.DelayedDropped.Add(uint64(dropped)) // not before: it may be tried again
	return back, nil
}

// planRelease adds m under each of its names to the transaction and to moves; wanted is false when nobody wants it.
func (p *Publisher) planRelease(moves []move, m *message.Message, route *route) (_ []move, wanted bool) {
	keep := p.retains(m)
	wanted = keep
	for n := range route.branches {
		b := &route.branches[n]
		to := move{message: m, queues: b.queues, record: -1, keep: keep && n == 0}
		if len(b.queues) == 0 && !to.keep {
			continue
		}
		wanted = true
		if n > 0 {
			named := *m
			named.Exchange, named.Key = b.exchange, b.key
			to.message = &named
		}
		publish := queue.Publish{Message: to.message}
		if to.keep {
			publish.Rows = []queue.Row{p.router.retainer.Row(m)}
		}
		if m.Durable() {
			publish.Queues = b.ids
		}
		if len(publish.Queues)+len(publish.Rows) > 0 {
			to.record = len(p.tx.Publishes)
			p.tx.Publishes = append(p.tx.Publishes, publish)
		}
		moves = append(moves, to)
	}
	return moves, wanted
}

// DelayOf reads a delay in milliseconds from the text of a header; not ok when it is no whole number. One beyond all time
// is longer than MaxDelay.
func DelayOf(text string) (delay int64, ok bool) {
	delay, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return delay, err == nil || errors.Is(err, strconv.ErrRange) // then it is the nearest number
}

// askedDelay is what the header of a message published to a delaying exchange asks for: 0 when it is not there or is
// no whole number.
func askedDelay(m *message.Message) int64 {
	v, ok := m.Head.Header(DelayHeader)
	if !ok {
		return 0
	}
	if text, isText := v.String(); isText {
		delay, _ := DelayOf(text)
		return delay
	}
	delay, _ := v.Int()
	return delay
}
