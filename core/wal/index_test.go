package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// indexOf returns the offset of the index of a segment that is sealed, 0 when it has none.
func indexOf(t testing.TB, m *vfs.Memory, id uint32) int {
	t.Helper()
	f := file(t, m, id)
	size, err := f.Size()
	if err != nil || size < footerSize {
		return 0
	}
	record := make([]byte, footerSize)
	if _, err := f.ReadAt(record, size-footerSize); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if readFrame(record).length != footerSize || !valid(seedIn(id, contents(t, m, id)), uint32(size-footerSize), record) {
		return 0
	}
	footer, _ := readFooter(record)
	return footer.index
}

// damageIndex makes the index of a segment useless.
func damageIndex(t testing.TB, m *vfs.Memory, id uint32) {
	t.Helper()
	at := indexOf(t, m, id)
	if at == 0 {
		t.Fatalf("segment %d has no index", id)
	}
	flip(t, file(t, m, id), int64(at)+frameSize)
}

// busyLog is a log with everything in it that a log can hold, survivors of removed segments included.
func busyLog(t testing.TB, seed uint64) *vfs.Memory {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 9))
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	waiting := map[uint32][]queue.Pos{}
	take := func() (uint32, []queue.Pos) {
		id := uint32(random.IntN(3) + 1) // queue 4 is stuck
		n := min(len(waiting[id]), random.IntN(6))
		ps := waiting[id][:n]
		waiting[id] = waiting[id][n:]
		return id, ps
	}
	for n := range 1500 {
		msg := &message.Message{Key: "k", Body: make([]byte, random.IntN(200)), Guarantee: message.AtLeastOnce}
		if random.IntN(4) == 0 {
			msg.Expires, msg.Priority = 1<<40+int64(n), uint8(n)
		}
		var queues []uint32
		for id := range uint32(4) {
			if random.IntN([]int{2, 3, 4, 40}[id]) == 0 {
				queues = append(queues, id+1)
			}
		}
		row := queue.Row{Table: queue.TableReply, Key: fmt.Sprint(random.IntN(50)), Value: []byte(fmt.Sprint(n)), Message: random.IntN(3) == 0}
		if random.IntN(5) == 0 {
			row.Value, row.Message = nil, false
		}
		var at queue.Pos
		var err error
		switch random.IntN(4) {
		case 0:
			at, _, err = l.Append(msg, queues, row)
		case 1:
			id, ps := take()
			tx := queue.Tx{Publishes: []queue.Publish{{Message: msg, Queues: queues}}, Rows: []queue.Row{row}}
			if len(ps) > 0 {
				tx.Acks = []queue.Refs{{Queue: id, Pos: ps}}
			}
			var all []queue.Pos
			if all, _, err = l.AppendTx(&tx, nil); err == nil {
				at = all[0]
			}
		default:
			at, _, err = l.Append(msg, queues)
			id, ps := take()
			ack(t, l, id, ps...)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range queues {
			waiting[id] = append(waiting[id], at)
		}
	}
	eventually(t, "compaction", func() bool {
		s := l.Stats()
		return s.Moved > 0 && s.LogBytes <= 2*s.LivingBytes+limit(testOptions(t))
	})
	closeLog(t, l)
	return m
}

// livingOf is what a log knows of its own segments after it was opened, but for those that may go at any time.
func livingOf(l *Log) map[uint32][2]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[uint32][2]int{}
	for _, s := range l.segments {
		if s.living.references > 0 {
			all[s.id] = [2]int{s.living.references, s.living.bytes}
		}
	}
	return all
}

func TestIndexSaysWhatTheRecordsSay(t *testing.T) {
	for seed := range uint64(10) {
		m := busyLog(t, seed)
		scanned := busyLogCopy(t, m)
		for _, id := range segmentsOf(t, scanned) {
			damageIndex(t, scanned, id)
		}
		o := testOptions(t)
		o.SegmentSize = 1 << 20 // so that nothing is compacted
		l, byIndex := open(t, m, o)
		other, byRecord := open(t, scanned, o)
		if !reflect.DeepEqual(byIndex, byRecord) {
			t.Errorf("seed %d: the indexes say %+v\nthe records %+v", seed, byIndex, byRecord)
		}
		if a, b := livingOf(l), livingOf(other); !reflect.DeepEqual(a, b) {
			t.Errorf("seed %d: living by index %v, by record %v", seed, a, b)
		}
		if len(byIndex.order) == 0 || len(byIndex.rows) == 0 || len(byIndex.kept) == 0 {
			t.Errorf("seed %d: the log holds too little to tell", seed)
		}
		for _, seq := range byIndex.order {
			if _, err := l.Read(byIndex.messages[seq]); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		}
		closeLog(t, l)
		closeLog(t, other)
	}
}

// busyLogCopy copies the segments of a closed log.
func busyLogCopy(t testing.TB, m *vfs.Memory) *vfs.Memory {
	t.Helper()
	c := vfs.NewMemory()
	for _, id := range segmentsOf(t, m) {
		placeSegment(t, c, id, contents(t, m, id))
	}
	return c
}

func contents(t testing.TB, m *vfs.Memory, id uint32) []byte {
	t.Helper()
	f := file(t, m, id)
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, size)
	if _, err := f.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return data
}

func TestDamagedIndexCostsAWarningAndNoMessage(t *testing.T) {
	m, ps := written(t, quiet(t), 60)
	damageIndex(t, m, ps[3].Segment)
	var text bytes.Buffer
	o := testOptions(t)
	o.Log = slog.New(slog.NewTextHandler(&text, nil))
	l, f := open(t, m, o)
	if len(f.order) != len(ps) {
		t.Errorf("%d messages, want %d", len(f.order), len(ps))
	}
	if n := strings.Count(text.String(), "level=WARN"); n != 1 || !strings.Contains(text.String(), segmentName(ps[3].Segment)) {
		t.Errorf("log %q, want one warning that names the segment", text.String())
	}
	ack(t, l, 1, ps[4:]...) // its segment is copied forward all the same
	churn(t, l, 400)
	eventually(t, "compaction", func() bool { return l.Stats().Moved == 4 })
	closeLog(t, l)
}

func TestDamageToABodyIsFoundWhenItIsRead(t *testing.T) {
	m, ps := written(t, quiet(t), 60)
	p := ps[3]
	flip(t, file(t, m, p.Segment), int64(p.Offset)+50)
	l, f := open(t, m, testOptions(t))
	defer closeLog(t, l)
	if len(f.order) != len(ps) {
		t.Errorf("%d messages, want %d", len(f.order), len(ps))
	}
	_, err := l.Read(p)
	if damage := (*CorruptionError)(nil); !errors.As(err, &damage) || damage.Segment != p.Segment || damage.Offset != p.Offset {
		t.Errorf("read: %v, want corruption of segment %d at %d", err, p.Segment, p.Offset)
	}
}

// TestFooterOfAnUnsyncedBatchProvesNothing has the index and the footer of the last batch of a segment on the disk and
// not a message in that batch, as a crash may leave it: sectors that were never synced arrive in any order.
func TestFooterOfAnUnsyncedBatchProvesNothing(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	var ps []queue.Pos
	for l.Stats().Segments == 1 {
		ps = append(ps, appendTo(t, l, strings.Repeat("x", 100), []uint32{1}))
	}
	eventually(t, "the footer", func() bool { return indexOf(t, m, ps[0].Segment) != 0 })
	data := contents(t, m, ps[0].Segment)
	closeLog(t, l)
	last := ps[len(ps)-2] // the last one in the segment
	data[last.Offset+40] ^= 1
	m = vfs.NewMemory()
	placeSegment(t, m, last.Segment, data)
	l, f := open(t, m, testOptions(t))
	for _, seq := range f.order {
		if seq >= last.Seq {
			t.Errorf("message %d is there, torn at %d", seq, last.Seq)
		}
		checkBody(t, l, f.messages[seq], strings.Repeat("x", 100))
	}
	closeLog(t, l)
	if size := len(contents(t, m, last.Segment)); size > len(data) {
		t.Errorf("the segment has %d bytes, had %d", size, len(data))
	}
}

// TestFooterBehindACutIsForgotten has the footer that recovery wrote where it cut a torn tail, and the old end of the
// file behind it, as a crash during recovery may leave it.
func TestFooterBehindACutIsForgotten(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	var ps []queue.Pos
	for l.Stats().Segments == 1 {
		ps = append(ps, appendTo(t, l, strings.Repeat("x", 100), []uint32{1}))
	}
	eventually(t, "the footer", func() bool { return indexOf(t, m, ps[0].Segment) != 0 })
	data := contents(t, m, ps[0].Segment)
	closeLog(t, l)
	at := int(ps[8].Offset)
	x := new(indexBuilder)
	x.reset()
	first, err := readSegmentHeader(1, data)
	if err != nil {
		t.Fatal(err)
	}
	number := first.firstBatch - 1
	for offset := segmentHeaderSize; offset < at; {
		f := readFrame(data[offset:])
		if e, err := entryOf(uint32(offset), f, data[offset:offset+f.length]); err == nil {
			x.add(&e)
		} else {
			number++ // a batch
		}
		offset += align(f.length)
	}
	cut := appendFooter(appendIndex(nil, x), footerRecord{number: number, synced: number, lastSeq: ps[7].Seq, index: at})
	sum(seedIn(1, data), uint32(at), cut)
	copy(data[at:], cut)

	m = vfs.NewMemory()
	placeSegment(t, m, 1, data)
	for range 3 {
		l, f := open(t, m, testOptions(t))
		if len(f.order) != 8 {
			t.Errorf("%d messages, want 8: %v", len(f.order), f.order)
		}
		closeLog(t, l)
	}
	if size := len(contents(t, m, 1)); size != at+len(cut) {
		t.Errorf("the segment has %d bytes, want %d", size, at+len(cut))
	}
}

// reading counts the bytes that are read.
type readingFS struct {
	vfs.FS
	bytes *atomic.Int64
}

type readingDir struct {
	vfs.Dir
	bytes *atomic.Int64
}

type readingFile struct {
	vfs.File
	bytes *atomic.Int64
}

func (r readingFS) Dir(path string) (vfs.Dir, error) {
	d, err := r.FS.Dir(path)
	return readingDir{d, r.bytes}, err
}

func (r readingDir) Open(name string) (vfs.File, error) {
	f, err := r.Dir.Open(name)
	return readingFile{f, r.bytes}, err
}

func (r readingFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.File.ReadAt(p, at)
	r.bytes.Add(int64(n))
	return n, err
}

func TestRecoveryReadsNoBodies(t *testing.T) {
	const messages = 3000
	m := vfs.NewMemory()
	o := testOptions(t)
	o.SegmentSize = 64 << 10
	l, _ := open(t, m, o)
	for range messages {
		appendTo(t, l, strings.Repeat("x", 1000), []uint32{1})
	}
	closeLog(t, l)
	var read atomic.Int64
	l, f := open(t, readingFS{m, &read}, o)
	defer closeLog(t, l)
	if len(f.order) != messages {
		t.Errorf("%d messages, want %d", len(f.order), messages)
	}
	if n := read.Load(); n > 200_000 {
		t.Errorf("%d bytes were read of a log of %d messages of 1000 bytes", n, messages)
	}
}

func TestLogOfVersion1IsRead(t *testing.T) {
	for _, name := range []string{"closed", "crashed"} {
		t.Run(name, func(t *testing.T) {
			m := golden(t, "version1", name)
			for range 3 { // again, once all of the new format is in it
				l, f := open(t, m, testOptions(t))
				if len(f.order) != 36 || fmt.Sprint(f.queues[1]) != "[2]" || fmt.Sprint(f.queues[22]) != "[1 2]" || fmt.Sprint(f.queues[42]) != "[3]" {
					t.Fatalf("found %d messages: %v in %v", len(f.order), f.order, f.queues)
				}
				if want := map[string]string{"3/k": "v", "4/r": "1"}; !reflect.DeepEqual(f.rows, want) {
					t.Errorf("rows %v, want %v", f.rows, want)
				}
				checkBody(t, l, f.messages[1], strings.Repeat("x", 100))
				checkBody(t, l, f.messages[42], "moved")
				checkBody(t, l, f.kept["3/k"], "kept")
				last := l.last().id
				if head := contents(t, m, last); binary.BigEndian.Uint32(head[8:]) != formatVersion {
					t.Errorf("segment %d has version %d: an older program would read what it does not know", last, head[11])
				}
				closeLog(t, l)
			}
			for _, id := range segmentsOf(t, m) {
				if data := contents(t, m, id); data[11] == 1 && indexOf(t, m, id) != 0 {
					t.Errorf("segment %d of version 1 was given an index", id)
				}
			}
		})
	}
}

// FuzzIndex reads an index that anybody may have written: an entry lies within the segment or the index is refused.
func FuzzIndex(f *testing.F) {
	x := new(indexBuilder)
	x.reset()
	for _, e := range []entry{
		{kind: recordMessage, offset: 104, size: 60, seq: 7, queues: []byte{0, 0, 0, 1}, body: 3},
		{kind: recordMessage, copied: true, offset: 168, size: 90, seq: 3, expires: 5, level: 9, body: 1, count: 1, rows: []byte{0, 1, 0, 1, 'k', 1, 'v'}},
		{kind: recordAck, count: 2, ack: []byte{0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 2}},
		{kind: recordRows, offset: 300, size: 23, count: 1, rows: []byte{0, 1, 1, 1, 'k', 0}},
	} {
		x.add(&e)
	}
	f.Add(x.data, 4, 4000)
	f.Add([]byte{}, 0, 64)
	f.Add([]byte{2, 0xff, 0xff, 0xff, 0xff, 0x0f, 1}, 1, 4096)
	f.Fuzz(func(t *testing.T, data []byte, entries, limit int) {
		if entries < 0 || limit < segmentHeaderSize || limit > 1<<30 {
			return
		}
		record := append(make([]byte, frameSize), data...)
		end := segmentHeaderSize
		var e entry
		for r := readIndex(frame{count: entries}, record, limit); ; {
			more, err := r.next(&e)
			if err != nil || !more {
				return
			}
			if e.kind == recordAck {
				_ = readAck(e.count, e.ack, func(uint32, uint64) {})
				continue
			}
			if int(e.offset) < end || int(e.offset)+int(e.size) > limit || e.offset%alignment != 0 {
				t.Fatalf("record at %d of %d bytes, the one before it ends at %d, the segment at %d", e.offset, e.size, end, limit)
			}
			end = int(e.offset) + align(int(e.size))
			for range eachRow(e.count, e.rows) {
			}
		}
	})
}

// TestTornTransactionBehindAnIndexIsCutAgain has the index that recovery wrote where it cut a torn transaction, and behind
// it the rest of that transaction, because a crash kept neither the cut nor the footer.
func TestTornTransactionBehindAnIndexIsCutAgain(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	appendTo(t, l, strings.Repeat("x", 3000), []uint32{1})
	text := strings.Repeat("y", 1000)
	ps, r, err := l.AppendTx(&queue.Tx{Publishes: []queue.Publish{
		{Message: body(text), Queues: []uint32{1}}, {Message: body(text), Queues: []uint32{1}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, r)
	first, second := contents(t, m, 1), contents(t, m, 2)
	closeLog(t, l)
	at := int(ps[0].Offset) - frameSize
	if ps[0].Segment != 2 || at != segmentHeaderSize+batchSize {
		t.Fatalf("the transaction is not the first in its segment: %+v", ps)
	}
	second[ps[1].Offset+500] ^= 1
	empty := new(indexBuilder)
	empty.reset()
	index := appendIndex(nil, empty)
	sum(seedIn(2, second), uint32(at), index)
	copy(second[at:], index)
	m = vfs.NewMemory()
	placeSegment(t, m, 1, first)
	placeSegment(t, m, 2, second)
	if reports := verifyAll(t, readOnly(t, m)); len(reports) != 2 || reports[1].Damage != nil || !reports[1].Torn {
		t.Errorf("verify says %+v", reports)
	}
	for range 2 {
		l, f := open(t, m, testOptions(t))
		if len(f.order) != 1 {
			t.Errorf("messages %v, want the first alone", f.order)
		}
		closeLog(t, l)
	}
}
