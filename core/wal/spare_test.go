package wal

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"tridge/internal/vfs"
)

// TestDeadSegmentsAreWrittenAgain counts files made and files renamed.
func TestDeadSegmentsAreWrittenAgain(t *testing.T) {
	m := vfs.NewMemory()
	var mu sync.Mutex
	var made, reused int
	fs := vfs.Inject(m, func(op vfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case op.Kind == vfs.OpCreate && strings.HasSuffix(op.Name, segmentSuffix):
			made++
		case op.Kind == vfs.OpRename && strings.HasSuffix(op.Name, spareSuffix):
			reused++
		}
		return nil
	})
	l, err := Open(fs, "log", testOptions(t), newFound())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		churn(t, l, 100)
		eventually(t, "removal of dead segments", func() bool { return l.Stats().Segments <= 2 })
	}
	closeLog(t, l)
	mu.Lock()
	defer mu.Unlock()
	if reused == 0 || made == 0 {
		t.Errorf("%d files made, %d used again", made, reused)
	}
	d, _ := m.Dir("log")
	names, _ := d.List()
	for _, name := range names {
		if strings.HasSuffix(name, spareSuffix) && len(names) > maxSpares+2 {
			t.Errorf("left behind: %v", names)
		}
	}
}

// TestStaleBytesBehindTheTailAreNoTornTail kills a log that writes to a file it has used before. What is left of that is
// neither damage nor a message.
func TestStaleBytesBehindTheTailAreNoTornTail(t *testing.T) {
	stale := 0
	for seed := range uint64(40) {
		m := vfs.NewMemory()
		o := testOptions(t)
		o.Fatal = func(error) {} // it will lose power
		l, _ := open(t, m, o)
		churn(t, l, 400)
		eventually(t, "removal of dead segments", func() bool { return l.Stats().Segments <= 2 })
		churn(t, l, 40)
		kept := appendTo(t, l, "kept", []uint32{7})
		if err := l.syncAll(); err != nil {
			t.Fatal(err)
		}
		data := contents(t, m, kept.Segment)
		end := int(kept.Offset) + align(int(kept.Size))
		if end < len(data) && !unused(data[end:]) {
			stale++
		}
		left := m.Crash(seed)
		var text bytes.Buffer
		o = testOptions(t)
		o.Log = slog.New(slog.NewTextHandler(&text, nil))
		after, f := open(t, left, o)
		if len(f.order) != 1 || strings.Contains(text.String(), "level=WARN") {
			t.Fatalf("seed %d: %d messages, log %q", seed, len(f.order), text.String())
		}
		checkBody(t, after, kept, "kept")
		closeLog(t, after)
		_ = l.Close() // it has lost power
	}
	if stale == 0 {
		t.Error("no log ever had stale bytes behind its tail")
	}
}

func TestChecksumsOfAnotherLogAreNotBelieved(t *testing.T) {
	record, at := beginRecord(nil, frame{kind: recordBatch})
	record = endRecord(append(record, make([]byte, batchSize-frameSize)...), at)
	sum(seedOf(5, 0), 4096, record)
	if !valid(seedOf(5, 0), 4096, record) {
		t.Fatal("not valid where it was written")
	}
	for _, of := range []seed{seedOf(5, 1), seedOf(5, 0x12345678), seedOf(6, 0)} {
		if valid(of, 4096, record) {
			t.Errorf("valid under %x", of)
		}
	}
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	closeLog(t, l)
	h, err := readSegmentHeader(1, contents(t, m, 1))
	if err != nil || h.salt == 0 {
		t.Errorf("header %+v, %v", h, err)
	}
}
