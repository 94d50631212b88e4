package wal

import (
	"errors"
	"io"
	"sync"
	"time"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// Log is an open log. Its methods are safe for concurrent use.
//
// Three goroutines belong to it: the flush loop writes and syncs, the preparer keeps empty segments ahead of it, the
// compactor removes segments. Close waits for all of them.
type Log struct {
	// immutable after Open
	options  Options
	dir      vfs.Dir
	lock     io.Closer
	wanted   chan want         // to the preparer
	prepared chan preparedFile // its answers
	poke     chan struct{}     // tells the compactor that there may be something to do
	stop     chan struct{}     // closed by Close
	running  sync.WaitGroup    // the preparer and the compactor
	flushed  chan struct{}     // closed when the flush loop has ended
	timer    *time.Timer       // of the lazy sync
	buffers  runBuffers

	// flush goroutine
	begun bool     // the first segment of this life of the log is begun; set before the goroutine starts
	tail  *segment // the segment last written
	runs  []run    // scratch of redeem
	noted markRows // scratch of putMarks
	ready []confirm.Ticket

	// guarded by mu, a leaf: nothing is called while it is held
	mu       sync.Mutex
	work     sync.Cond // the flush loop waits for something to do
	space    sync.Cond // appenders wait for room
	settled  sync.Cond // the compactor waits for a sync, or for the readers of a segment
	building *batch
	flushing *batch           // nil while nothing is being written
	idle     *batch           // the other one of the two, empty
	waiters  []confirm.Ticket // of everything up to swapped

	salt     uint32       // of the checksums: see seed; 0 until a header with one was read or a first one made
	segments []*segment   // consecutive ids, oldest first; the last one is appended to
	spares   []string     // files of segments that are no more, for the preparer
	index    indexBuilder // of the last segment
	rows     map[rowKey]*rowPlace
	moved    movedTable
	unread   unreadRecords // by sequence number
	lastSeq  uint64

	number   uint64        // of the last batch begun
	swapped  uint64        // of the last batch handed to the flush loop
	written  uint64        // of the last batch written
	synced   uint64        // of the last batch synced
	barrier  uint64        // the compactor needs everything up to this batch synced
	lazyDue  bool          // something written has waited long enough for a sync
	marks    []*queue.Mark // to be written with the next batch
	marksDue bool          // or without one: they have waited long enough
	armed    bool          // timer will set lazyDue
	closed   bool
	stuck    bool  // a sealed segment is damaged: nothing is removed any more
	err      error // the log has failed
	stats    Stats
}

var (
	_ queue.Log       = (*Log)(nil)
	_ queue.RunReader = (*Log)(nil)
	_ confirm.Syncer  = (*Log)(nil)
)

// place is where a record is.
type place struct{ segment, offset, size uint32 }

// Append implements queue.Log.
func (l *Log) Append(m *message.Message, queues []uint32, rows ...queue.Row) (queue.Pos, confirm.Receipt, error) {
	if len(rows) > maxRows {
		return queue.Pos{}, confirm.Receipt{}, ErrTooLarge
	}
	size := messageSize(m, queues, rows)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.reserve(size, entryFixed+4*len(queues)+rowsSize(rows)); err != nil {
		return queue.Pos{}, confirm.Receipt{}, err
	}
	at := l.putMessage(m, queues, rows)
	return at, l.commit(), nil
}

// AppendTx implements queue.Log. The order within the record is publishes, acknowledgements, rows.
func (l *Log) AppendTx(tx *queue.Tx, dst []queue.Pos) ([]queue.Pos, confirm.Receipt, error) {
	dst = dst[:0]
	size, entries, records := frameSize, 0, len(tx.Publishes)
	for i := range tx.Publishes {
		p := &tx.Publishes[i]
		if len(p.Rows) > maxRows {
			return dst, confirm.Receipt{}, ErrTooLarge
		}
		size += messageSize(p.Message, p.Queues, p.Rows)
		entries += entryFixed + 4*len(p.Queues) + rowsSize(p.Rows)
	}
	for _, a := range tx.Acks {
		for ps := range spans(a.Pos) {
			size += ackSize(len(ps))
			entries += entryFixed + ackSize(len(ps))
			records++
		}
	}
	size += align(rowsSize(tx.Rows)) + (len(tx.Rows)/maxRows+1)*(frameSize+alignment)
	entries += rowsSize(tx.Rows) + (len(tx.Rows)/maxRows+1)*entryFixed
	records += (len(tx.Rows) + maxRows - 1) / maxRows
	if records == 0 {
		return dst, confirm.Receipt{}, nil
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.reserve(size, entries); err != nil {
		return dst, confirm.Receipt{}, err
	}
	b, at := l.building, 0
	if records > 1 {
		b.data, at = beginRecord(b.data, frame{kind: recordTx, count: records})
	}
	for i := range tx.Publishes {
		p := &tx.Publishes[i]
		dst = append(dst, l.putMessage(p.Message, p.Queues, p.Rows))
	}
	for _, a := range tx.Acks {
		for ps := range spans(a.Pos) {
			l.putAck(a.Queue, ps)
		}
	}
	for rows := tx.Rows; len(rows) > 0; {
		n := min(len(rows), maxRows)
		l.putRows(rows[:n])
		rows = rows[n:]
	}
	if records > 1 {
		b.data = endRecord(b.data, at)
		l.stats.Records++
	}
	return dst, l.commit(), nil
}

// Ack implements queue.Log.
func (l *Log) Ack(queueID uint32, ps []queue.Pos) (confirm.Receipt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	receipt := confirm.Receipt{}
	for span := range spans(ps) {
		if err := l.reserve(ackSize(len(span)), entryFixed+ackSize(len(span))); err != nil {
			return confirm.Receipt{}, err
		}
		l.putAck(queueID, span)
		receipt = l.commit()
	}
	return receipt, nil
}

// spans cuts ps into what one record acknowledges, leaving out what is not in the log.
func spans(ps []queue.Pos) func(yield func([]queue.Pos) bool) {
	return func(yield func([]queue.Pos) bool) {
		for len(ps) > 0 {
			n := 0
			for n < len(ps) && n < maxAckSpan && ps[n].Seq != 0 {
				n++
			}
			if n == 0 {
				ps = ps[1:]
				continue
			}
			if !yield(ps[:n]) {
				return
			}
			ps = ps[n:]
		}
	}
}

// AfterSync implements confirm.Syncer.
func (l *Log) AfterSync(at uint64, t confirm.Ticket) {
	if t.To == nil {
		return
	}
	l.mu.Lock()
	switch {
	case at <= l.safe():
		l.mu.Unlock()
		t.Done(nil)
		return
	case l.err != nil:
		err := l.err
		l.mu.Unlock()
		t.Done(err)
		return
	case at <= l.swapped:
		l.waiters = append(l.waiters, t)
	default:
		l.building.waiters = append(l.building.waiters, t)
	}
	l.work.Signal()
	l.mu.Unlock()
}

// safe is the last batch that receipts may be redeemed for.
func (l *Log) safe() uint64 {
	if l.options.Sync == SyncAlways {
		return l.synced
	}
	return l.written
}

// putMessage appends a message record within the room reserved for it.
func (l *Log) putMessage(m *message.Message, queues []uint32, rows []queue.Row) queue.Pos {
	l.lastSeq++
	b := l.building
	index := len(b.data)
	b.data = appendMessage(b.data, l.lastSeq, m, queues, rows)
	// What entryOf would find, without looking for it: this is what every publisher waits for.
	e := entry{kind: recordMessage, seq: l.lastSeq, count: len(rows), time: m.Time, expires: m.Expires, body: len(m.Body), level: m.Priority}
	variable := b.data[index+messageFixed:]
	e.queues, variable = variable[:4*len(queues)], variable[4*len(queues):]
	if n, err := rowsLength(len(rows), variable); err == nil {
		e.rows = variable[:n]
	}
	at := l.placedAs(index, &e)
	l.add(at, len(queues)+lasting(rows))
	l.putRowPlaces(rows, at, l.lastSeq)
	return queue.Pos{Seq: l.lastSeq, Segment: at.segment, Offset: at.offset, Size: at.size}
}

func (l *Log) putRows(rows []queue.Row) {
	b := l.building
	index := len(b.data)
	b.data = appendRows(b.data, rows)
	at := l.placed(index)
	l.add(at, lasting(rows))
	l.putRowPlaces(rows, at, 0)
}

func (l *Log) putAck(queueID uint32, ps []queue.Pos) {
	b := l.building
	index := len(b.data)
	b.data = appendAck(b.data, queueID, ps)
	l.placed(index)
	for i := range ps {
		l.ack(l.resolve(ps[i]), ps[i].Seq, queueID)
	}
}

// ack ends the reference of queueID to the message at at.
func (l *Log) ack(at place, seq uint64, queueID uint32) {
	s := l.segment(at.segment)
	if s == nil {
		return // it died with its segment
	}
	if _, last := s.living.ack(at.offset, int(at.size), queueID); last {
		l.died(at, seq)
	}
}

// add counts a record that was just appended, with its references.
func (l *Log) add(at place, references int) {
	l.segment(at.segment).living.add(at.offset, int(at.size), references)
	if references > 0 {
		l.stats.LivingBytes += int64(at.size)
	}
}

// died is told that the record at at has lost its last reference.
func (l *Log) died(at place, seq uint64) {
	l.stats.LivingBytes -= int64(at.size)
	l.moved.remove(seq)
}

// resolve says where the message that was at p is now. Only the oldest segment is ever copied from, so what is in a newer
// one has not moved.
func (l *Log) resolve(p queue.Pos) place {
	if oldest := l.segments[0].id; p.Segment <= oldest {
		if at, ok := l.moved.get(p.Seq, oldest); ok {
			return at
		}
	}
	return place{p.Segment, p.Offset, p.Size}
}

// segment returns the segment called id, nil when it is gone.
func (l *Log) segment(id uint32) *segment {
	if i := int64(id) - int64(l.segments[0].id); i >= 0 && i < int64(len(l.segments)) {
		return l.segments[i]
	}
	return nil
}

func (l *Log) last() *segment { return l.segments[len(l.segments)-1] }

// Close writes and syncs what was appended, seals the log and waits for its goroutines. Receipts redeemed before Close
// are answered; whoever appends after it is refused with ErrClosed. A log that waits for space does so no longer: what
// it could not write is not confirmed, and the error is ErrFull.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closed = true
	l.work.Signal()
	l.space.Broadcast()
	l.settled.Broadcast()
	l.mu.Unlock()

	close(l.stop)
	<-l.flushed
	l.running.Wait()
	l.timer.Stop()
	l.mu.Lock()
	for _, s := range l.segments {
		for s.readers > 0 {
			l.settled.Wait()
		}
	}
	err := l.err
	l.mu.Unlock()
	if err == nil {
		err = l.sealTail()
	}
	for _, s := range l.segments {
		if s.file != nil {
			err = errors.Join(err, s.file.Close())
		}
	}
	return errors.Join(err, l.lock.Close())
}

// sealTail ends the last segment with a footer that claims everything in it as synced, so that damage to it is never
// taken for a torn tail, and gives back the space it did not need. Nobody else uses the log any more.
func (l *Log) sealTail() error {
	s := l.tail
	if err := seal(s.file, s.seed, s.written, &l.index, footerRecord{number: l.synced, synced: l.synced, lastSeq: l.lastSeq}); err != nil {
		return err
	}
	return l.dir.Sync() // the preparer has removed its reserve
}

// seal writes the index, unless it is nil, and a footer at end of f, which is synced up to there, and ends the file behind
// them. The space behind end is given back last: it is where the index and the footer go, and on a full disk whoever
// else writes would take it at once.
func seal(f vfs.File, of seed, end int, index *indexBuilder, footer footerRecord) error {
	if index != nil {
		footer.index = end
		if err := writeRecord(f, of, end, appendIndex(nil, index)); err != nil {
			return err
		}
		// The footer says that what is before it was synced, and a bad record there would be taken for corruption.
		if err := f.Sync(); err != nil {
			return err
		}
		end += index.size()
	}
	if err := writeRecord(f, of, end, appendFooter(nil, footer)); err != nil {
		return err
	}
	if err := f.Truncate(int64(end + footerSize)); err != nil {
		return err
	}
	return f.Sync()
}

// writeRecord writes a record at offset of a segment.
func writeRecord(f vfs.File, of seed, offset int, record []byte) error {
	sum(of, uint32(offset), record)
	_, err := f.WriteAt(record, int64(offset))
	return err
}
