package wal

import (
	"encoding/json"
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tridge/core/queue"
	"tridge/internal/vfs"
)

func verifyAll(t testing.TB, fs vfs.FS) []Report {
	t.Helper()
	var all []Report
	if err := Verify(fs, "log", func(r Report) error { all = append(all, r); return nil }); err != nil {
		t.Fatalf("verify: %v", err)
	}
	return all
}

func dumpAll(t testing.TB, fs vfs.FS) []Record {
	t.Helper()
	var all []Record
	if err := Dump(fs, "log", true, func(r Record) error { all = append(all, r); return nil }); err != nil {
		t.Fatalf("dump: %v", err)
	}
	return all
}

// readOnly fails whatever would change the disk.
func readOnly(t testing.TB, m *vfs.Memory) vfs.FS {
	return vfs.Inject(m, func(op vfs.Op) error {
		if op.Changes() {
			t.Errorf("%s of %s", op.Kind, op.Name)
		}
		return nil
	})
}

func TestVerifyAcceptsWhatTheLogWrote(t *testing.T) {
	for seed := range uint64(5) {
		m := busyLog(t, seed)
		reports := verifyAll(t, readOnly(t, m))
		if len(reports) == 0 {
			t.Fatal("no segment")
		}
		for _, r := range reports {
			if r.Damage != nil || r.Torn || !r.Sealed || !r.Indexed || r.Version != formatVersion {
				t.Errorf("seed %d: %+v", seed, r)
			}
		}
	}
}

func TestVerifyNamesDamage(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, m *vfs.Memory, ps []queue.Pos) (segment uint32, offset uint32)
	}{
		{"a body in a sealed segment", func(t *testing.T, m *vfs.Memory, ps []queue.Pos) (uint32, uint32) {
			flip(t, file(t, m, ps[3].Segment), int64(ps[3].Offset)+50)
			return ps[3].Segment, ps[3].Offset
		}},
		{"an index", func(t *testing.T, m *vfs.Memory, ps []queue.Pos) (uint32, uint32) {
			damageIndex(t, m, ps[3].Segment)
			return ps[3].Segment, uint32(indexOf(t, m, ps[3].Segment))
		}},
		{"an index that lies under a right checksum", func(t *testing.T, m *vfs.Memory, ps []queue.Pos) (uint32, uint32) {
			id := ps[3].Segment
			at := indexOf(t, m, id)
			flip(t, file(t, m, id), int64(at)+frameSize+1)
			data := contents(t, m, id)
			record := data[at : at+readFrame(data[at:]).length]
			sum(seedIn(id, data), uint32(at), data[at:at+align(len(record))])
			if _, err := file(t, m, id).WriteAt(record, int64(at)); err != nil {
				t.Fatal(err)
			}
			return id, uint32(at)
		}},
		{"a header", func(t *testing.T, m *vfs.Memory, ps []queue.Pos) (uint32, uint32) {
			flip(t, file(t, m, ps[3].Segment), 30)
			return ps[3].Segment, 0
		}},
		{"a missing segment", func(t *testing.T, m *vfs.Memory, ps []queue.Pos) (uint32, uint32) {
			id := ps[30].Segment
			d, _ := m.Dir("log")
			if err := d.Remove(segmentName(id)); err != nil {
				t.Fatal(err)
			}
			return id, 0
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, ps := written(t, quiet(t), 60)
			id, offset := test.damage(t, m, ps)
			found := 0
			for _, r := range verifyAll(t, readOnly(t, m)) {
				damage := (*CorruptionError)(nil)
				switch {
				case r.Damage == nil && r.Segment == id:
					t.Errorf("nothing is wrong with %+v", r)
				case r.Damage == nil:
				case !errors.As(r.Damage, &damage) || damage.Segment != id || damage.Offset != offset:
					t.Errorf("%v, want segment %d at %d", r.Damage, id, offset)
				default:
					found++
				}
			}
			if found != 1 {
				t.Errorf("%d damaged segments, want 1", found)
			}
		})
	}
}

func TestVerifyKnowsATornTail(t *testing.T) {
	m, ps := written(t, quiet(t), 50)
	last := ps[len(ps)-1]
	flip(t, file(t, m, last.Segment), int64(last.Offset)+40)
	reports := verifyAll(t, readOnly(t, m))
	for i, r := range reports {
		if r.Damage != nil || r.Torn != (i == len(reports)-1) {
			t.Errorf("%+v", r)
		}
	}
	if r := reports[len(reports)-1]; r.Bytes != int(last.Offset) {
		t.Errorf("torn at %d, want %d", r.Bytes, last.Offset)
	}
	if records := dumpAll(t, readOnly(t, m)); records[len(records)-1].Offset >= last.Offset && records[len(records)-1].Segment == last.Segment {
		t.Errorf("the torn record was told of: %+v", records[len(records)-1])
	}
}

func TestVerifyOfAnOpenLogIsRefused(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	defer closeLog(t, l)
	appendTo(t, l, "x", []uint32{1})
	if err := Verify(m, "log", func(Report) error { return nil }); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("verify: %v, want ErrLocked", err)
	}
	if err := Dump(m, "log", false, func(Record) error { return nil }); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("dump: %v, want ErrLocked", err)
	}
}

func TestVerifyOfNoLogIsAnError(t *testing.T) {
	m := vfs.NewMemory()
	if _, err := m.Dir("log"); err != nil {
		t.Fatal(err)
	}
	if err := Verify(m, "log", func(Report) error { return nil }); err == nil || !strings.Contains(err.Error(), "no segment") {
		t.Errorf("verify: %v", err)
	}
}

func TestLookingAtALogMakesNoDirectory(t *testing.T) {
	m := vfs.NewMemory()
	if err := Verify(m, "log", func(Report) error { return nil }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("verify: %v", err)
	}
	if _, err := m.Existing("log"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("verify has made the directory: %v", err)
	}
}

func TestNewerFormatIsRefusedByVerifyAndDump(t *testing.T) {
	m, ps := written(t, quiet(t), 1)
	if _, err := file(t, m, ps[0].Segment).WriteAt([]byte{0, 0, 0, formatVersion + 1}, 8); err != nil {
		t.Fatal(err)
	}
	if r := verifyAll(t, m); len(r) != 1 || !errors.As(r[0].Damage, new(*VersionError)) {
		t.Errorf("verify: %+v", r)
	}
	if err := Dump(m, "log", false, func(Record) error { return nil }); !errors.As(err, new(*VersionError)) {
		t.Errorf("dump: %v", err)
	}
}

func TestDumpTellsOfEveryRecord(t *testing.T) {
	m := vfs.NewMemory()
	o := testOptions(t)
	o.SegmentSize = 1 << 16
	l, _ := open(t, m, o)
	one := appendTo(t, l, "one", []uint32{1, 2}, queue.Row{Table: queue.TableRetained, Key: "k", Value: []byte("v"), Message: true})
	ack(t, l, 1, one)
	two, _, err := l.AppendTx(&queue.Tx{
		Publishes: []queue.Publish{{Message: body("two"), Queues: []uint32{3}}},
		Acks:      []queue.Refs{{Queue: 2, Pos: []queue.Pos{one}}},
		Rows:      []queue.Row{{Table: queue.TableReply, Key: "gone"}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	records := dumpAll(t, readOnly(t, m))
	var types []string
	for _, r := range records {
		if r.Type != "batch" {
			types = append(types, r.Type)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	}
	want := []string{"message", "ack", "transaction", "message", "ack", "rows", "index", "footer"}
	if !slices.Equal(types, want) {
		t.Fatalf("records %q, want %q", types, want)
	}
	records = slices.DeleteFunc(records, func(r Record) bool { return r.Type == "batch" })
	first := records[0]
	if first.Segment != one.Segment || first.Offset != one.Offset || first.Size != one.Size || first.Seq != 1 ||
		!slices.Equal(first.Queues, []uint32{1, 2}) || string(first.Message.Body) != "one" || first.Message.Bytes != 3 ||
		!reflect.DeepEqual(first.Rows, []Row{{Table: uint16(queue.TableRetained), Key: "k", Value: []byte("v"), Keeps: true}}) {
		t.Errorf("%+v", first)
	}
	if r := records[1]; !slices.Equal(r.Queues, []uint32{1}) || !slices.Equal(r.Acks, []uint64{1}) {
		t.Errorf("%+v", r)
	}
	if r := records[3]; r.Transaction != records[2].Offset || r.Offset != two[0].Offset || string(r.Message.Body) != "two" {
		t.Errorf("%+v", r)
	}
	if r := records[5]; !r.Rows[0].Removed || r.Rows[0].Key != "gone" {
		t.Errorf("%+v", r)
	}
	if r := records[6]; r.Count != 5 || r.Offset != records[7].Index {
		t.Errorf("%+v, footer %+v", r, records[7])
	}
}
