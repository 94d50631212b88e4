package wal

import (
	"cmp"
	"slices"
)

// defaultShortRun is how many survivors a run must have to be worth a cursor of its own.
const defaultShortRun = 64

// copyRuns are the survivors in a log, as the first pass of recovery finds them: runs of ascending sequence numbers, which
// need not be next to each other. The compactor writes one for each segment that it empties, so there are few. Those of
// short runs, which older versions of this program wrote, are kept in memory.
type copyRuns struct {
	short int // how many a run must have to be in long
	long  []copyRun

	open  copyRun // the run that has not ended, when its count is not 0
	last  uint64  // sequence number in it
	begin int     // of its survivors in strays and in kept, as long as it is short
	kept  int

	strays []stray
	data   indexBuilder // of strays, an index each
}

// copyRun is a run of survivors.
type copyRun struct {
	first  uint64 // sequence number
	count  int
	source int       // the segment it begins in, see recovery.sources
	at     indexMark // of its first entry
}

// stray is a survivor that belongs to no long run.
type stray struct {
	seq    uint64
	source int
	at     int // in copyRuns.data
}

// add enters a survivor whose entry is at at of the index of a segment.
func (c *copyRuns) add(e *entry, source int, at indexMark) {
	if c.open.count == 0 || e.seq <= c.last {
		c.end()
		c.open = copyRun{first: e.seq, source: source, at: at}
	}
	c.last = e.seq
	c.open.count++
	switch {
	case c.open.count < c.short:
		c.strays = append(c.strays, stray{e.seq, source, len(c.data.data)})
		data := c.data.data
		c.data = indexBuilder{times: true, end: segmentHeaderSize, data: data}
		c.data.add(e)
	case c.open.count == c.short:
		c.strays, c.data.data = c.strays[:c.begin], c.data.data[:c.kept]
	}
}

// end ends the run that is open.
func (c *copyRuns) end() {
	if c.open.count >= c.short && c.open.count > 0 {
		c.long = append(c.long, c.open)
	}
	c.open.count = 0
	c.begin, c.kept = len(c.strays), len(c.data.data)
}

// sort ends the last run and puts all in order of their first sequence number.
func (c *copyRuns) sort() {
	c.end()
	slices.SortFunc(c.long, func(a, b copyRun) int { return cmp.Compare(a.first, b.first) })
	slices.SortStableFunc(c.strays, func(a, b stray) int { return cmp.Compare(a.seq, b.seq) })
}

// cursor goes through records in the order of sequence numbers.
type cursor interface {
	// next reads an entry into e, whose bytes are valid until the next call, and says in which segment its record is. more
	// is false behind the last.
	next(e *entry) (source int, more bool, err error)
}

// strayCursor goes through the survivors that are in memory.
type strayCursor struct {
	copies *copyRuns
	at     int
}

func (c *strayCursor) next(e *entry) (int, bool, error) {
	if c.at == len(c.copies.strays) {
		return 0, false, nil
	}
	s := c.copies.strays[c.at]
	c.at++
	x := indexReader{indexMark: indexMark{end: segmentHeaderSize}, total: 1, rest: c.copies.data.data[s.at:], limit: 1<<32 - 1}
	_, err := x.next(e)
	return s.source, true, err
}

// runCursor goes through the survivors of a run.
type runCursor struct {
	stream entryStream
	left   int
}

func (c *runCursor) next(e *entry) (int, bool, error) {
	for c.left > 0 {
		source, more, err := c.stream.next(e)
		if err != nil || !more {
			return 0, false, err
		}
		if e.kind == recordMessage && e.copied {
			c.left--
			return source, true, nil
		}
	}
	return 0, false, nil
}
