package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// repaired repairs m and opens the new log.
func repaired(t testing.TB, m *vfs.Memory) ([]Lost, *Log, *found) {
	t.Helper()
	before := map[uint32][]byte{}
	for _, id := range segmentsOf(t, m) {
		before[id] = contents(t, m, id)
	}
	var lost []Lost
	if err := repair(m, "log", "new", testOptions(t), nobody{}, func(l Lost) { lost = append(lost, l) }); err != nil {
		t.Fatalf("repair: %v", err)
	}
	for id, data := range before {
		if !slices.Equal(contents(t, m, id), data) {
			t.Errorf("repair changed segment %d", id)
		}
	}
	f := newFound()
	l, err := Open(m, "new", testOptions(t), f)
	if err != nil {
		t.Fatalf("open the repaired log: %v", err)
	}
	if err := Verify(m, "log", func(Report) error { return nil }); err != nil {
		t.Errorf("the damaged log is in use: %v", err)
	}
	return lost, l, f
}

// holdSame compares what two logs hold, whatever the places.
func holdSame(a, b *found) bool {
	places := func(f *found) *found {
		c := newFound()
		c.order, c.queues, c.rows = f.order, f.queues, f.rows
		for seq, i := range f.info {
			i.Time = 0
			c.info[seq] = i
		}
		for name, p := range f.kept {
			c.kept[name] = queue.Pos{Seq: p.Seq}
		}
		for seq := range f.messages {
			c.messages[seq] = queue.Pos{}
		}
		return c
	}
	return places(a).describe() == places(b).describe()
}

func TestRepairOfASoundLogLosesNothing(t *testing.T) {
	torn, ps := written(t, quiet(t), 50)
	last := ps[len(ps)-1]
	flip(t, file(t, torn, last.Segment), int64(last.Offset)+40)
	index, ps := written(t, quiet(t), 60)
	damageIndex(t, index, ps[3].Segment)
	for name, m := range map[string]*vfs.Memory{
		"busy": busyLog(t, 1), "busier": busyLog(t, 2), "version 1": golden(t, "version1", "closed"),
		"version 1, crashed": golden(t, "version1", "crashed"), "version 2": golden(t, "version2", "closed"),
		"version 2, crashed": golden(t, "version2", "crashed"), "a torn tail": torn, "a damaged index": index,
	} {
		t.Run(name, func(t *testing.T) {
			lost, l, got := repaired(t, m)
			defer closeLog(t, l)
			if len(lost) != 0 {
				t.Errorf("lost %+v", lost)
			}
			old, want := open(t, m, testOptions(t))
			defer closeLog(t, old)
			if !holdSame(got, want) {
				t.Errorf("the repaired log holds\n%sthe other\n%s", got.describe(), want.describe())
			}
			for _, seq := range got.order {
				a, err := l.Read(got.messages[seq])
				b, other := old.Read(want.messages[seq])
				if err != nil || other != nil || string(a.Body) != string(b.Body) || a.Time != b.Time {
					t.Errorf("message %d: %+v, %v, want %+v, %v", seq, a, err, b, other)
				}
			}
			p, _, err := l.Append(body("next"), []uint32{1})
			if err != nil || len(want.order) > 0 && p.Seq <= slices.Max(want.order) {
				t.Errorf("the next message is %d, %v", p.Seq, err)
			}
		})
	}
}

// TestRepairExplainsEveryLoss damages logs anywhere. What is missing lay where something is reported lost, and verify
// finds something wrong with its segment.
func TestRepairExplainsEveryLoss(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 8))
		m := busyLog(t, seed%4)
		o := testOptions(t)
		o.SegmentSize = 1 << 20 // so that nothing is compacted
		sound, want := open(t, busyLogCopy(t, m), o)
		closeLog(t, sound)
		survivors := survivorsOf(t, m)
		ids := segmentsOf(t, m)
		for range 1 + random.IntN(5) {
			id := ids[random.IntN(len(ids))]
			data := contents(t, m, id)
			from := random.IntN(len(data))
			for i := from; i < min(from+1+random.IntN(300), len(data)); i++ {
				data[i] = byte(random.Uint32())
			}
			if _, err := file(t, m, id).WriteAt(data, 0); err != nil {
				t.Fatal(err)
			}
		}
		if random.IntN(3) == 0 {
			d, _ := m.Dir("log")
			if err := d.Remove(segmentName(ids[1+random.IntN(len(ids)-2)])); err != nil {
				t.Fatal(err)
			}
		}
		wrong := map[uint32]bool{}
		for _, r := range verifyAll(t, m) {
			wrong[r.Segment] = r.Damage != nil || r.Torn
		}
		lost, l, got := repaired(t, m)
		messages := 0
		for _, part := range lost {
			messages += part.Messages
			if !wrong[part.Segment] {
				t.Errorf("seed %d: verify finds nothing wrong where %+v is lost", seed, part)
			}
		}
		covered := func(p queue.Pos) bool {
			return slices.ContainsFunc(lost, func(part Lost) bool {
				missing := part.From == 0 && part.To == 0
				return p.Segment >= part.Segment && p.Segment <= part.Through &&
					(missing || p.Offset < part.To && p.Offset+p.Size > part.From)
			})
		}
		missing := 0
		for seq, p := range want.messages {
			if _, ok := got.messages[seq]; ok {
				continue
			}
			if !slices.Contains(survivors, seq) { // their numbers say nothing of a segment that is not there
				missing++
			}
			if last := slices.Max(ids); !covered(p) && p.Segment != last {
				t.Errorf("seed %d: message %d at %+v is not there, lost %+v", seed, seq, p, lost)
			}
		}
		if messages < missing && !wrong[slices.Max(ids)] {
			t.Errorf("seed %d: %d messages are missing, %d are reported", seed, missing, messages)
		}
		for _, seq := range got.order {
			if _, err := l.Read(got.messages[seq]); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		}
		closeLog(t, l)
	}
}

func TestRepairNamesWhatIsLost(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, m *vfs.Memory, ps []queue.Pos)
		lost   func(ps []queue.Pos) []Lost
	}{
		{"two messages next to each other and one apart", func(t *testing.T, m *vfs.Memory, ps []queue.Pos) {
			for _, i := range []int{3, 4, 8} {
				flip(t, file(t, m, ps[i].Segment), int64(ps[i].Offset)+50)
			}
		}, func(ps []queue.Pos) []Lost {
			end := func(p queue.Pos) uint32 { return p.Offset + uint32(align(int(p.Size))) }
			part := func(p queue.Pos) Lost {
				return Lost{Segment: p.Segment, Through: p.Segment, From: p.Offset, To: end(p), Messages: 1}
			}
			return []Lost{part(ps[3]), part(ps[4]), part(ps[8])}
		}},
		{"a length", func(t *testing.T, m *vfs.Memory, ps []queue.Pos) {
			flip(t, file(t, m, ps[3].Segment), int64(ps[3].Offset))
		}, func(ps []queue.Pos) []Lost {
			p := ps[3]
			return []Lost{{Segment: p.Segment, Through: p.Segment, From: p.Offset, To: p.Offset + uint32(align(int(p.Size))), Messages: 1}}
		}},
		{"a header", func(t *testing.T, m *vfs.Memory, ps []queue.Pos) {
			flip(t, file(t, m, ps[3].Segment), 20)
		}, func(ps []queue.Pos) []Lost {
			return []Lost{{Segment: ps[3].Segment, Through: ps[3].Segment, To: segmentHeaderSize}}
		}},
		{"two segments", func(t *testing.T, m *vfs.Memory, ps []queue.Pos) {
			d, _ := m.Dir("log")
			for _, id := range []uint32{2, 3} {
				if err := d.Remove(segmentName(id)); err != nil {
					t.Fatal(err)
				}
			}
		}, func(ps []queue.Pos) []Lost {
			n := 0
			for _, p := range ps {
				if p.Segment == 2 || p.Segment == 3 {
					n++
				}
			}
			return []Lost{{Segment: 2, Through: 3, Messages: n, AtLeast: true}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, ps := written(t, quiet(t), 80)
			test.damage(t, m, ps)
			lost, l, f := repaired(t, m)
			defer closeLog(t, l)
			messages := 0
			for i := range lost {
				if lost[i].Err == nil {
					t.Errorf("%+v does not say why", lost[i])
				}
				lost[i].Err = nil
				messages += lost[i].Messages
			}
			if want := test.lost(ps); !slices.Equal(lost, want) {
				t.Errorf("lost %+v\nwant %+v", lost, want)
			}
			if len(f.order) != len(ps)-messages {
				t.Errorf("%d messages are left of %d, %d reported lost", len(f.order), len(ps), messages)
			}
		})
	}
}

// TestRepairBelievesNoHalfOfATransaction damages a message in a transaction that acknowledged another: that one comes again.
func TestRepairBelievesNoHalfOfATransaction(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, quiet(t))
	source := appendTo(t, l, "source", []uint32{1})
	ps, r, err := l.AppendTx(&queue.Tx{
		Publishes: []queue.Publish{{Message: body("first"), Queues: []uint32{2}}, {Message: body("second"), Queues: []uint32{2}}},
		Acks:      []queue.Refs{{Queue: 1, Pos: []queue.Pos{source}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, r)
	done := appendTo(t, l, "done", []uint32{1})
	wait(t, ack(t, l, 1, done))
	closeLog(t, l)
	flip(t, file(t, m, ps[0].Segment), int64(ps[0].Offset)+40)
	lost, l, f := repaired(t, m)
	defer closeLog(t, l)
	if len(lost) != 1 || lost[0].Messages != 1 || lost[0].Acks != 1 {
		t.Errorf("lost %+v, want one message, and one acknowledgement that is not believed", lost)
	}
	if !slices.Equal(f.order, []uint64{source.Seq, ps[1].Seq}) {
		t.Fatalf("messages %v, want the source and the second", f.order)
	}
	checkBody(t, l, f.messages[source.Seq], "source")
	checkBody(t, l, f.messages[ps[1].Seq], "second")
}

// TestRepairReadsAroundAnUnreadableSector has a disk that cannot read a part of a segment.
func TestRepairReadsAroundAnUnreadableSector(t *testing.T) {
	m, ps := written(t, quiet(t), 60)
	p := ps[3]
	lost := 0
	fs := unreadable{m, segmentName(p.Segment), int64(p.Offset)}
	if err := repair(fs, "log", "new", testOptions(t), nobody{}, func(l Lost) { lost += l.Messages }); err != nil {
		t.Fatal(err)
	}
	f := newFound()
	l, err := Open(m, "new", testOptions(t), f)
	if err != nil {
		t.Fatal(err)
	}
	defer closeLog(t, l)
	if lost == 0 || len(f.order) != len(ps)-lost || lost > 1024/100 {
		t.Errorf("%d messages are left of %d, %d reported lost", len(f.order), len(ps), lost)
	}
}

// unreadable fails reads of 512 bytes of one file.
type unreadable struct {
	vfs.FS
	name string
	at   int64
}

type unreadableDir struct {
	vfs.Dir
	of unreadable
}

type unreadableFile struct {
	vfs.File
	at int64
}

func (u unreadable) Dir(path string) (vfs.Dir, error) {
	d, err := u.FS.Dir(path)
	if path != "log" {
		return d, err
	}
	return unreadableDir{d, u}, err
}

func (u unreadable) Existing(path string) (vfs.Dir, error) {
	d, err := u.FS.Existing(path)
	if path != "log" {
		return d, err
	}
	return unreadableDir{d, u}, err
}

func (d unreadableDir) Open(name string) (vfs.File, error) {
	f, err := d.Dir.Open(name)
	if name != d.of.name {
		return f, err
	}
	return unreadableFile{f, d.of.at}, err
}

func (f unreadableFile) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) <= f.at || at >= f.at+512 {
		return f.File.ReadAt(p, at)
	}
	n, _ := f.File.ReadAt(p[:max(f.at-at, 0)], at)
	return n, syscall.EIO
}

func TestRepairWritesNothingOverAnything(t *testing.T) {
	m, _ := written(t, quiet(t), 5)
	none := func(Lost) {}
	if err := repair(m, "log", "log", testOptions(t), nobody{}, none); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("in place: %v", err)
	}
	l, err := Open(m, "other", testOptions(t), newFound())
	if err != nil {
		t.Fatal(err)
	}
	if err := repair(m, "other", "new", testOptions(t), nobody{}, none); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("of an open log: %v, want ErrLocked", err)
	}
	closeLog(t, l)
	if err := repair(m, "log", "other", testOptions(t), nobody{}, none); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("into a log: %v", err)
	}
	if err := repair(vfs.NewMemory(), "log", "new", testOptions(t), nobody{}, none); err == nil {
		t.Error("of no log: no error")
	}
}

// TestRepairKeepsAMessageForItsRow has a message that no queue waits for and a row keeps, and rows without a message.
func TestRepairKeepsAMessageForItsRow(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	kept := appendTo(t, l, "kept", nil, queue.Row{Table: queue.TableRetained, Key: "k", Value: []byte("v"), Message: true})
	done := appendTo(t, l, "done", []uint32{1}, queue.Row{Table: queue.TableReply, Key: "r", Value: []byte("1")})
	ack(t, l, 1, done)
	if _, _, err := l.Append(&message.Message{Body: []byte("x")}, nil); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	_, l, f := repaired(t, m)
	defer closeLog(t, l)
	if want := map[string]string{"3/k": "v", "4/r": "1"}; fmt.Sprint(f.rows) != fmt.Sprint(want) || len(f.order) != 0 {
		t.Errorf("rows %v and messages %v, want rows %v", f.rows, f.order, want)
	}
	if f.kept["3/k"].Seq != kept.Seq {
		t.Errorf("the row keeps message %d, want %d", f.kept["3/k"].Seq, kept.Seq)
	}
	checkBody(t, l, f.kept["3/k"], "kept")
}

func TestUnfinishedRepairIsNotOpened(t *testing.T) {
	m, _ := written(t, quiet(t), 200)
	failures := 0
	for n := int64(1); n < 60; n++ {
		to := fmt.Sprint("new", n)
		if repair(failAt(m, n, syscall.EIO), "log", to, quiet(t), nobody{}, func(Lost) {}) != nil {
			failures++
		}
		f := newFound()
		l, err := Open(m, to, testOptions(t), f)
		switch {
		case err == nil:
			closeLog(t, l)
			if len(f.order) != 0 && len(f.order) != 200 { // none when it failed before it began
				t.Errorf("operation %d failed, and %d messages of 200 were opened as a log", n, len(f.order))
			}
		case !errors.Is(err, ErrUnfinished):
			t.Errorf("operation %d: %v", n, err)
		}
	}
	if failures < 10 {
		t.Errorf("only %d operations failed", failures)
	}
}
