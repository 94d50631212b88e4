package wal

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tridge/internal/vfs"
)

// segmentsOf lists the segments in the log's directory.
func segmentsOf(t testing.TB, m *vfs.Memory) []uint32 {
	t.Helper()
	d, err := m.Dir("log")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := segmentIDs(d)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// placeSegment puts a segment with these contents into the log's directory.
func placeSegment(t testing.TB, m *vfs.Memory, id uint32, contents []byte) {
	t.Helper()
	d, err := m.Dir("log")
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Create(segmentName(id))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(contents, 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), d.Sync()); err != nil {
		t.Fatal(err)
	}
}

// gapped is a log that was written to and then lost its reserve; behind the place where that was, there are segments with
// these contents. It returns the first id of that and the number of messages in the log.
func gapped(t testing.TB, clean bool, behind ...[]byte) (m *vfs.Memory, missing uint32, messages int) {
	t.Helper()
	const count = 30
	if clean {
		m = vfs.NewMemory()
		l, _ := open(t, m, testOptions(t))
		for range count {
			appendTo(t, l, strings.Repeat("x", 100), []uint32{1})
		}
		closeLog(t, l)
	} else {
		m, _ = written(t, quiet(t), count)
	}
	ids := segmentsOf(t, m)
	missing = ids[len(ids)-1] + 1
	for !clean { // the last ones may be the reserve
		f := file(t, m, missing-1)
		head := make([]byte, segmentHeaderSize)
		if n, _ := f.ReadAt(head, 0); n == len(head) && !bytes.Equal(head, make([]byte, len(head))) {
			break
		}
		missing--
		d, _ := m.Dir("log")
		if err := errors.Join(d.Remove(segmentName(missing)), d.Sync()); err != nil {
			t.Fatal(err)
		}
	}
	for i, contents := range behind {
		placeSegment(t, m, missing+1+uint32(i), contents)
	}
	return m, missing, count
}

func TestGapBeforeEmptySegmentsIsClosed(t *testing.T) {
	empty := make([]byte, minSegmentSize)
	for _, test := range []struct {
		name   string
		clean  bool
		behind [][]byte
	}{
		{"one segment, after a crash", false, [][]byte{empty}},
		{"one segment, after Close", true, [][]byte{empty}},
		{"one segment without its length", false, [][]byte{nil}},
		{"several segments", false, [][]byte{empty, nil, empty}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, missing, messages := gapped(t, test.clean, test.behind...)
			var text bytes.Buffer
			o := testOptions(t)
			o.Log = slog.New(slog.NewTextHandler(&text, nil))
			l, f := open(t, m, o)
			if len(f.order) != messages {
				t.Errorf("%d messages, want %d", len(f.order), messages)
			}
			if n := strings.Count(text.String(), "level=WARN"); n != 1 || !strings.Contains(text.String(), segmentName(missing)) {
				t.Errorf("log %q, want one warning that names the segment", text.String())
			}
			if p := appendTo(t, l, "next", []uint32{1}); p.Segment != missing {
				t.Errorf("appended to segment %d, want %d", p.Segment, missing)
			}
			closeLog(t, l)
			if ids := segmentsOf(t, m); firstMissing(ids) != 0 || ids[len(ids)-1] != missing {
				t.Errorf("segments %v, want all up to %d", ids, missing)
			}
			text.Reset()
			l, f = open(t, m, o)
			defer closeLog(t, l)
			if len(f.order) != messages+1 || text.Len() != 0 {
				t.Errorf("the second start finds %d messages and says %q", len(f.order), text.String())
			}
		})
	}
}

func TestGapBeforeASegmentThatWasWrittenStopsTheStart(t *testing.T) {
	empty := make([]byte, minSegmentSize)
	torn := slices.Clone(empty)
	torn[1] = 1 // not all of the header reached the disk
	for _, test := range []struct {
		name   string
		behind [][]byte
	}{
		{"a torn one", [][]byte{torn}},
		{"a torn one behind an empty one", [][]byte{empty, torn}},
		{"a torn one before an empty one", [][]byte{torn, empty}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, missing, _ := gapped(t, false, test.behind...)
			before := segmentsOf(t, m)
			_, err := Open(m, "log", testOptions(t), newFound())
			if damage := (*CorruptionError)(nil); !errors.As(err, &damage) || damage.Segment != missing {
				t.Fatalf("open: %v, want segment %d missing", err, missing)
			}
			if after := segmentsOf(t, m); !slices.Equal(before, after) {
				t.Errorf("segments %v, were %v", after, before)
			}
		})
	}
}

// TestPowerLossWhileAGapIsClosed cuts the power at each operation of the start.
func TestPowerLossWhileAGapIsClosed(t *testing.T) {
	empty := make([]byte, minSegmentSize)
	for n := range 12 {
		for seed := range uint64(15) {
			m, _, messages := gapped(t, false, empty, empty, nil)
			random := rand.New(rand.NewPCG(seed, uint64(n)))
			if l, err := Open(powerCut(m, n+1, random), "log", crashOptions(), newFound()); err == nil {
				_ = l.Close()
			}
			l, f := open(t, m.Crash(seed), testOptions(t))
			if len(f.order) != messages {
				t.Fatalf("operation %d, seed %d: %d messages, want %d", n, seed, len(f.order), messages)
			}
			closeLog(t, l)
		}
	}
}
