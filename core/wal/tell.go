package wal

import (
	"cmp"

	"tridge/core/queue"
)

const (
	originalsWindow = 256 << 10
	maxRunWindow    = 64 << 10
	minRunWindow    = 512
	allRunWindows   = 32 << 20 // what the windows of all runs may take
)

// telling is the second pass of recovery. Messages that are no survivors ascend through the log; the runs of survivors are
// merged with them. Of several records of one message, which a crash between copying and removal leaves, the last counts.
type telling struct {
	*recovery
	to    queue.Recovery
	heads []*head // a heap, the lowest sequence number first
	runs  []copyRun
	lines entryStream // of the messages that are no survivors

	latest  entry // the last record so far of the message that was met last; its bytes are its own
	source  int   // of latest
	bytes   []byte
	waiting []uint32
}

// head is the entry that a cursor has come to.
type head struct {
	entry  entry
	source int
	cursor cursor
}

// tell hands over what lives, rows and then messages in order, and counts in each segment what lives there.
func (r *recovery) tell(to queue.Recovery) error {
	if err := r.tellRows(to); err != nil {
		return err
	}
	r.copies.sort()
	t := telling{recovery: r, to: to, runs: r.copies.long}
	if err := t.push(&strayCursor{copies: &r.copies}); err != nil {
		return err
	}
	t.lines = entryStream{sources: r.sources, window: originalsWindow}
	if len(r.sources) > 0 {
		t.lines.begin(0, indexMark{end: segmentHeaderSize})
		if err := t.push(&originalCursor{&t}); err != nil {
			return err
		}
	}
	if err := t.merge(); err != nil {
		return err
	}
	return t.finish()
}

// merge visits every message record in the order of sequence numbers.
func (t *telling) merge() error {
	window := maxRunWindow
	if n := len(t.runs); n > 0 {
		window = max(min(window, allRunWindows/n), minRunWindow)
	}
	for len(t.heads) > 0 || len(t.runs) > 0 {
		if len(t.runs) > 0 && (len(t.heads) == 0 || t.runs[0].first <= t.heads[0].entry.seq) {
			run := t.runs[0]
			t.runs = t.runs[1:]
			c := &runCursor{stream: entryStream{sources: t.sources, window: window}, left: run.count}
			c.stream.begin(run.source, run.at)
			if err := t.push(c); err != nil {
				return err
			}
			continue
		}
		h := t.heads[0]
		if err := t.visit(&h.entry, h.source); err != nil {
			return err
		}
		more, err := h.advance()
		if err != nil {
			return err
		}
		if !more {
			t.heads[0] = t.heads[len(t.heads)-1]
			t.heads = t.heads[:len(t.heads)-1]
		}
		t.sink()
	}
	return nil
}

func (h *head) advance() (more bool, err error) {
	h.source, more, err = h.cursor.next(&h.entry)
	return more, err
}

// push adds a cursor, unless it is at its end.
func (t *telling) push(c cursor) error {
	h := &head{cursor: c}
	if more, err := h.advance(); err != nil || !more {
		return err
	}
	t.heads = append(t.heads, h)
	for i := len(t.heads) - 1; i > 0; {
		above := (i - 1) / 2
		if t.heads[above].entry.seq <= t.heads[i].entry.seq {
			break
		}
		t.heads[above], t.heads[i] = t.heads[i], t.heads[above]
		i = above
	}
	return nil
}

// sink brings the first head to where it belongs.
func (t *telling) sink() {
	for i := 0; ; {
		lowest := i
		for below := 2*i + 1; below <= 2*i+2 && below < len(t.heads); below++ {
			if t.heads[below].entry.seq < t.heads[lowest].entry.seq {
				lowest = below
			}
		}
		if lowest == i {
			return
		}
		t.heads[i], t.heads[lowest] = t.heads[lowest], t.heads[i]
		i = lowest
	}
}

// originalCursor goes through the messages that are no survivors. On its way it meets every record of rows, which have no
// sequence number, and counts them.
type originalCursor struct{ t *telling }

func (c *originalCursor) next(e *entry) (int, bool, error) {
	for {
		source, more, err := c.t.lines.next(e)
		switch {
		case err != nil || !more:
			return 0, false, err
		case e.kind == recordMessage && !e.copied:
			return source, true, nil
		case e.kind == recordRows:
			c.t.count(e, source, nil)
		}
	}
}

// visit is called with the records of each message, one after the other and in any order.
func (t *telling) visit(e *entry, source int) error {
	if t.latest.seq != e.seq {
		if err := t.finish(); err != nil {
			return err
		}
		t.keep(e, source)
		return nil
	}
	if cmp.Or(cmp.Compare(source, t.source), cmp.Compare(e.offset, t.latest.offset)) < 0 {
		t.count(e, source, nil)
		return nil
	}
	t.count(&t.latest, t.source, nil)
	t.keep(e, source)
	return nil
}

// keep makes e the latest record of its message.
func (t *telling) keep(e *entry, source int) {
	t.bytes = append(append(t.bytes[:0], e.queues...), e.rows...)
	t.latest, t.source = *e, source
	t.latest.queues, t.latest.rows = t.bytes[:len(e.queues)], t.bytes[len(e.queues):]
}

// finish counts the latest record of a message and tells of it if a queue waits for it.
func (t *telling) finish() error {
	e := &t.latest
	if e.seq == 0 {
		return nil // none yet
	}
	t.waiting = t.waiting[:0]
	for i := range e.waiting() {
		if q := e.queue(i); !t.acked.has(q, e.seq) {
			t.waiting = append(t.waiting, q)
		}
	}
	t.count(e, t.source, t.waiting)
	if len(t.waiting) == 0 {
		return nil
	}
	pos := queue.Pos{Seq: e.seq, Segment: t.sources[t.source].segment.id, Offset: e.offset, Size: e.size}
	info := queue.Info{Time: e.time, Expires: e.expires, Size: e.body, Priority: e.level}
	return t.to.Message(pos, info, t.waiting)
}

// count enters into its segment what lives of a record: its place in the queues that wait, which are some of its own in
// their order, and the rows whose last value it has.
func (t *telling) count(e *entry, source int, waiting []uint32) {
	l, s := t.log, t.sources[source].segment
	at := place{s.id, e.offset, e.size}
	living := len(waiting)
	for i, row := range eachRow(e.count, e.rows) {
		if row.flags&rowRemoves == 0 && l.lastOf(row, at, i) != nil {
			living++
		}
	}
	if living == 0 {
		s.living.dead.set(e.offset)
		return
	}
	l.stats.LivingBytes += int64(e.size)
	s.living.add(e.offset, int(e.size), e.references())
	if living == e.references() { // as of most
		return
	}
	for i := range e.waiting() {
		q := e.queue(i)
		if len(waiting) > 0 && waiting[0] == q {
			waiting = waiting[1:]
			continue
		}
		s.living.ack(e.offset, int(e.size), q)
	}
	for i, row := range eachRow(e.count, e.rows) {
		if row.flags&rowRemoves == 0 && l.lastOf(row, at, i) == nil {
			s.living.release(e.offset, int(e.size))
		}
	}
}
