// Package queuetest provides a queue.Log in memory whose syncs the test decides on.
package queuetest

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
)

// Log is a queue.Log in memory. Everything is safe as soon as it is asked about, unless Hold was called.
type Log struct {
	mu       sync.Mutex
	seq      uint64
	at       uint64
	held     bool
	err      error
	limit    int // bytes of the bodies of one record, 0 for no limit
	waiting  []confirm.Ticket
	messages map[uint64]*message.Message
	refs     map[uint64]map[uint32]bool // by seq: queues that still need the message
	rows     map[queue.Table]map[string][]byte
	kept     map[queue.Table]map[string]queue.Pos // of rows that keep their message
	records  int

	remembers bool
	history   []func(to *Log) // the records, for Until
	safe      uint64          // the last of which somebody was told
	asked     uint64          // the last of which somebody waits to be told
}

var _ queue.Log = (*Log)(nil)

// NewLog returns an empty log.
func NewLog() *Log {
	return &Log{messages: map[uint64]*message.Message{}, refs: map[uint64]map[uint32]bool{},
		rows: map[queue.Table]map[string][]byte{}, kept: map[queue.Table]map[string]queue.Pos{}}
}

// Hold has receipts wait for Sync from now on.
func (l *Log) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = true
}

// Sync redeems every receipt asked about so far, in order.
func (l *Log) Sync() {
	l.mu.Lock()
	tickets := l.waiting
	l.waiting, l.safe = nil, max(l.safe, l.asked)
	l.mu.Unlock()
	for _, t := range tickets {
		t.Done(nil)
	}
}

// Break has every receipt asked about so far fail with err.
func (l *Log) Break(err error) {
	l.mu.Lock()
	tickets := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	for _, t := range tickets {
		t.Done(err)
	}
}

// Fail has every call from now on answer err.
func (l *Log) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// Limit has records whose messages have more bytes than that answer queue.ErrTooLarge from now on.
func (l *Log) Limit(bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = bytes
}

// fits is what a record of those publishes is answered. mu is held.
func (l *Log) fits(publishes ...queue.Publish) error {
	size := 0
	for i := range publishes {
		size += len(publishes[i].Message.Body)
	}
	if l.limit > 0 && size > l.limit {
		return queue.ErrTooLarge
	}
	return l.err
}

// Needs reports whether queue still needs the message at p.
func (l *Log) Needs(id uint32, p queue.Pos) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refs[p.Seq][id]
}

// Damage makes the message at p unreadable.
func (l *Log) Damage(p queue.Pos) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.messages, p.Seq)
}

// Living is the number of references that have not been acknowledged.
func (l *Log) Living() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, queues := range l.refs {
		n += len(queues)
	}
	return n
}

// Records is the number of records written.
func (l *Log) Records() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records
}

// Rows returns a copy of the living rows of a table.
func (l *Log) Rows(t queue.Table) map[string][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.rows[t])
}

// Replay tells to what is in the log, as core/wal does when it is opened.
func (l *Log) Replay(to queue.Recovery) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for table, rows := range l.rows {
		for key, value := range rows {
			at, kept := l.kept[table][key]
			if err := to.Row(queue.Row{Table: table, Key: key, Value: value, Message: kept}, at); err != nil {
				return err
			}
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(l.refs)) {
		m := l.messages[seq]
		info := queue.Info{Time: m.Time, Expires: m.Expires, Size: len(m.Body), Priority: m.Priority}
		if err := to.Message(queue.Pos{Seq: seq}, info, slices.Sorted(maps.Keys(l.refs[seq]))); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) Append(m *message.Message, queues []uint32, rows ...queue.Row) (queue.Pos, confirm.Receipt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fits(queue.Publish{Message: m}); err != nil {
		return queue.Pos{}, confirm.Receipt{}, err
	}
	own := queue.Publish{Message: m, Queues: slices.Clone(queues), Rows: slices.Clone(rows)}
	l.remember(func(to *Log) { to.append(own.Message, own.Queues, own.Rows) })
	return l.append(m, queues, rows), l.receipt(), nil
}

// Delivered implements queue.Log. The row is there at once, and is no record.
func (l *Log) Delivered(m *queue.Mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id, seq, ok := m.Collect(); ok && l.err == nil {
		l.setRows([]queue.Row{{Table: queue.TableDelivered, Key: string(queue.AppendMarkKey(nil, id)), Value: queue.AppendMarkValue(nil, seq)}}, queue.Pos{})
	}
}

func (l *Log) append(m *message.Message, queues []uint32, rows []queue.Row) queue.Pos {
	l.seq++
	l.messages[l.seq] = m
	if len(queues) > 0 {
		l.refs[l.seq] = map[uint32]bool{}
		for _, q := range queues {
			l.refs[l.seq][q] = true
		}
	}
	at := queue.Pos{Seq: l.seq, Segment: 1}
	l.setRows(rows, at)
	return at
}

func (l *Log) setRows(rows []queue.Row, at queue.Pos) {
	for _, r := range rows {
		delete(l.kept[r.Table], r.Key)
		if r.Value == nil {
			delete(l.rows[r.Table], r.Key)
			continue
		}
		if l.rows[r.Table] == nil {
			l.rows[r.Table] = map[string][]byte{}
			l.kept[r.Table] = map[string]queue.Pos{}
		}
		l.rows[r.Table][r.Key] = append([]byte{}, r.Value...)
		if r.Message {
			l.kept[r.Table][r.Key] = at
		}
	}
}

func (l *Log) receipt() confirm.Receipt {
	l.at++
	l.records++
	return confirm.Receipt{By: l, At: l.at}
}

func (l *Log) AppendTx(tx *queue.Tx, dst []queue.Pos) ([]queue.Pos, confirm.Receipt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fits(tx.Publishes...); err != nil {
		return dst, confirm.Receipt{}, err
	}
	own := copied(tx)
	l.remember(func(to *Log) { to.apply(&own, nil) })
	return l.apply(tx, dst), l.receipt(), nil
}

// apply does what tx says. mu is held.
func (l *Log) apply(tx *queue.Tx, dst []queue.Pos) []queue.Pos {
	for _, p := range tx.Publishes {
		dst = append(dst, l.append(p.Message, p.Queues, p.Rows))
	}
	for _, a := range tx.Acks {
		l.ack(a.Queue, a.Pos)
	}
	l.setRows(tx.Rows, queue.Pos{})
	return dst
}

func (l *Log) Ack(id uint32, ps []queue.Pos) (confirm.Receipt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return confirm.Receipt{}, l.err
	}
	own := slices.Clone(ps)
	l.remember(func(to *Log) { to.ack(id, own) })
	l.ack(id, ps)
	return l.receipt(), nil
}

func (l *Log) ack(id uint32, ps []queue.Pos) {
	for _, p := range ps {
		delete(l.refs[p.Seq], id)
		if len(l.refs[p.Seq]) == 0 {
			delete(l.refs, p.Seq)
		}
	}
}

func (l *Log) Read(p queue.Pos) (*message.Message, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.messages[p.Seq]
	switch {
	case l.err != nil:
		return nil, l.err
	case m == nil:
		return nil, fmt.Errorf("queuetest: no message there: %w", queue.ErrUnreadable)
	}
	return m, nil
}

func (l *Log) AfterSync(at uint64, t confirm.Ticket) {
	l.mu.Lock()
	held := l.held
	if held {
		l.waiting = append(l.waiting, t)
		l.asked = max(l.asked, at)
	} else {
		l.safe = max(l.safe, at)
	}
	l.mu.Unlock()
	if !held {
		t.Done(nil)
	}
}
