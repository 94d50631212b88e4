package wal

import (
	"errors"
	"fmt"
	"slices"

	"tridge/core/queue"
	"tridge/internal/vfs"
)

// Salvage is told, as by Open, of what lives in a log that is repaired, and may add to it.
type Salvage interface {
	queue.Recovery
	// Rows returns what the new log is to hold besides. It is called once, when everything has been told of. damaged says
	// that something is lost.
	Rows(damaged bool) []queue.Row
}

// nobody is a Salvage that needs to be told nothing.
type nobody struct{}

func (nobody) Rows(bool) []queue.Row { return nil }

// Row and Message implement queue.Recovery.
func (nobody) Row(queue.Row, queue.Pos) error                { return nil }
func (nobody) Message(queue.Pos, queue.Info, []uint32) error { return nil }

// Repair writes what lives in the log in from, damaged or not, as a new log in to, which is made when missing and must be
// empty. The damaged log is not changed, except that the lock file appears if there was none; nobody may have it open
// (vfs.ErrLocked). Messages keep their sequence numbers. A bad record is left out, and everything up to the next good one
// with it; report is told of each part that is lost, in the order of the log. A torn tail is no loss: nothing in it was
// confirmed. What acknowledgements or rows were in a part that is lost says the index of its segment; where that is lost,
// too, they are undone, and such messages come again. salvage is told of what is left.
//
// An error says that the new log is not complete; it stays marked and is not opened (ErrUnfinished). report may not have
// been called. A log of a newer format is a
// *VersionError.
func Repair(fs vfs.FS, from, to string, s Salvage, report func(Lost)) error {
	return repair(fs, from, to, Options{}, s, report)
}

func repair(fs vfs.FS, from, to string, o Options, salvage Salvage, report func(Lost)) (err error) {
	i, err := inspect(fs, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.close()) }()
	i.log.options = o.withDefaults()
	w := lenient{inspector: i}
	if err := w.run(salvage); err != nil {
		return fmt.Errorf("wal: repair %s: %w", from, err)
	}
	rows := salvage.Rows(len(w.lost) > 0)
	d, err := mark(fs, to)
	if err != nil {
		return err
	}
	o.lastSeq = i.log.lastSeq
	var failed error // of the new log; its receipts are not used
	fatal := o.Fatal
	o.Fatal = func(err error) {
		failed = err
		if fatal != nil {
			fatal(err)
		}
	}
	l, err := openIn(d, to, o, nobody{})
	if err != nil {
		return err
	}
	c := carrier{from: i.log, to: l}
	for n := range i.sources {
		if err = c.carry(&i.sources[n]); err != nil {
			break
		}
	}
	for n := 0; n < len(w.rescued) && err == nil; n++ {
		err = c.rescue(&w.rescued[n])
	}
	if err == nil {
		_, _, err = l.AppendTx(&queue.Tx{Rows: rows}, nil)
	}
	err = errors.Join(err, l.Close(), failed)
	if err == nil {
		err = d.Sync() // before the mark goes: what it stands before must be there
	}
	if err == nil {
		err = d.Remove(unrepairedName)
	}
	if err == nil {
		err = d.Sync()
	}
	if err != nil {
		return fmt.Errorf("wal: repair %s into %s: %w", from, to, err)
	}
	for _, each := range append(w.lost, c.lost...) {
		report(each)
	}
	return nil
}

// mark makes dir, in which nothing may be, a directory that is not opened until the mark is removed.
func mark(fs vfs.FS, dir string) (vfs.Dir, error) {
	d, err := fs.Dir(dir)
	if err != nil {
		return nil, fmt.Errorf("wal: repair into %s: %w", dir, err)
	}
	names, err := d.List()
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("it is not empty: %s", names[0])
	}
	var f vfs.File
	if err == nil {
		f, err = d.Create(unrepairedName)
	}
	if err == nil {
		err = errors.Join(f.Close(), d.Sync())
	}
	if err != nil {
		return nil, fmt.Errorf("wal: repair into %s: %w", dir, err)
	}
	return d, nil
}

// carrier copies what lives from one log to another.
type carrier struct {
	compactor
	from, to *Log
	lost     []Lost // what turns out to be damaged when it is copied, though its entry in the index was right
}

// carry copies what lives in a segment.
func (c *carrier) carry(src *entrySource) error {
	entries := func(_ *segment, each func(*entry) error) error {
		var e entry
		x := indexReader{indexMark: indexMark{end: segmentHeaderSize}, total: src.entries, rest: src.data, limit: 1<<32 - 1}
		for {
			more, err := x.next(&e)
			if err != nil || !more {
				return err
			}
			if err := each(&e); err != nil {
				return err
			}
		}
	}
	s := src.segment
	if err := c.find(c.from, s, entries); err != nil {
		return err
	}
	if err := c.scan.open(s); err != nil {
		return err
	}
	for {
		err := c.read(s, c.copy(s))
		damage := (*CorruptionError)(nil)
		if !errors.As(err, &damage) {
			return err
		}
		at := slices.IndexFunc(c.found, func(r livingRecord) bool { return r.offset == damage.Offset })
		if at < 0 {
			return err
		}
		end := damage.Offset + c.found[at].size
		c.lost = append(c.lost, Lost{Segment: s.id, Through: s.id, From: damage.Offset, To: end, Messages: 1, Err: damage.Err})
		c.found = c.found[at+1:] // those before it have been copied
	}
}

// copy returns what copies a record of s.
func (c *carrier) copy(s *segment) func(offset uint32, f frame, record []byte) error {
	return func(offset uint32, f frame, record []byte) error {
		p, err := payloadOf(f, record)
		if err != nil {
			return err
		}
		keep := c.survivors(c.from, s, offset, f, p)
		if len(c.queues) == 0 && len(c.rows) == 0 {
			return nil
		}
		c.to.mu.Lock()
		defer c.to.mu.Unlock()
		if err := c.to.reserve(align(len(record)), entryFixed+4*f.count+len(p.rows)); err != nil {
			return err
		}
		c.put(c.to, keep, p)
		c.to.commit()
		return nil
	}
}

// rescue copies rows whose record is lost.
func (c *carrier) rescue(r *rescuedRows) error {
	p := messagePayload{rows: r.rows}
	c.survivors(c.from, r.segment, r.offset, frame{kind: recordRows, rows: r.count}, p)
	if len(c.rows) == 0 {
		return nil
	}
	c.to.mu.Lock()
	defer c.to.mu.Unlock()
	if err := c.to.reserve(align(frameSize+len(p.rows)), entryFixed+len(p.rows)); err != nil {
		return err
	}
	c.put(c.to, false, p)
	c.to.commit()
	return nil
}
