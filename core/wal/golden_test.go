package wal

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tridge/internal/vfs"
)

// describe is what was found but for when messages came, one line each.
func (f *found) describe() string {
	var b strings.Builder
	for _, seq := range f.order {
		i, p := f.info[seq], f.messages[seq]
		fmt.Fprintf(&b, "message %d at %d/%d/%d queues %v expires %d size %d priority %d\n",
			seq, p.Segment, p.Offset, p.Size, f.queues[seq], i.Expires, i.Size, i.Priority)
	}
	var names []string
	for name := range f.rows {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "row %s = %s", name, f.rows[name])
		if p, ok := f.kept[name]; ok {
			fmt.Fprintf(&b, " keeps %d at %d/%d/%d", p.Seq, p.Segment, p.Offset, p.Size)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// golden places the segments of a log that an older version of this program wrote.
func golden(t testing.TB, version, name string) *vfs.Memory {
	t.Helper()
	m := vfs.NewMemory()
	names, err := filepath.Glob(filepath.Join("testdata", version, name, "*.log"))
	if err != nil || len(names) == 0 {
		t.Fatal("no files", err)
	}
	for _, path := range names {
		id, _ := parseSegmentName(filepath.Base(path))
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		placeSegment(t, m, id, data)
	}
	return m
}

// TestLogOfVersion2IsRead has logs with transactions, rows that keep messages, and survivors, and what the program that
// wrote them found in them.
func TestLogOfVersion2IsRead(t *testing.T) {
	for _, name := range []string{"closed", "crashed"} {
		for _, blind := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, indexes damaged %v", name, blind), func(t *testing.T) {
				m := golden(t, "version2", name)
				if blind {
					for _, id := range segmentsOf(t, m) {
						if indexOf(t, m, id) != 0 {
							damageIndex(t, m, id)
						}
					}
				}
				text, err := os.ReadFile(filepath.Join("testdata", "version2", name, "found.txt"))
				if err != nil {
					t.Fatal(err)
				}
				o := testOptions(t)
				o.SegmentSize = 1 << 20 // so that nothing is compacted
				for range 2 {           // again, once a newer segment is in it
					l, f := open(t, m, o)
					if got := f.describe(); got != string(text) {
						t.Errorf("found\n%swant\n%s", got, text)
					}
					for _, seq := range f.order {
						msg, err := l.Read(f.messages[seq])
						if err != nil {
							t.Fatal(err)
						}
						if came := f.info[seq].Time; came != 0 && came != msg.Time { // the indexes do not say
							t.Errorf("message %d came at %d, found %d", seq, msg.Time, came)
						}
					}
					closeLog(t, l)
				}
				for _, r := range verifyAll(t, m) {
					if r.Damage != nil && !blind {
						t.Errorf("%+v", r)
					}
				}
			})
		}
	}
}
