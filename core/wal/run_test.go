package wal

import (
	"fmt"
	"strings"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// readRuns reads everything at ps as a queue does: runs, and one by one where a run ends.
func readRuns(t *testing.T, l *Log, ps []queue.Pos, texts []string) (together int, failed []queue.Pos) {
	t.Helper()
	ms := make([]*message.Message, len(ps))
	for at := 0; at < len(ps); {
		if n := l.ReadRun(ps[at:], ms[at:]); n > 0 {
			at += n
			if n > 1 {
				together += n
			}
			continue
		}
		m, err := l.Read(ps[at])
		if err != nil {
			failed = append(failed, ps[at])
		}
		ms[at] = m
		at++
	}
	for i, m := range ms {
		if m != nil && string(m.Body) != texts[i] {
			t.Fatalf("message %d is %.20q, want %.20q", i, m.Body, texts[i])
		}
	}
	return together, failed
}

// TestRunsReadWhatReadReads has messages of other queues between, some too large for a run, several segments, some not
// written yet, and one that is damaged.
func TestRunsReadWhatReadReads(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	var ps []queue.Pos
	var texts []string
	for i := range 400 {
		text := fmt.Sprint(i)
		switch {
		case i%50 == 7:
			text = strings.Repeat(text, 1000)
		case i%90 == 3:
			appendTo(t, l, strings.Repeat("between", 1000), []uint32{2})
		}
		ps = append(ps, appendTo(t, l, text, []uint32{1}))
		texts = append(texts, text)
	}
	wait(t, ack(t, l, 3, ps[0]))
	together, failed := readRuns(t, l, ps, texts)
	if together < 200 || len(failed) > 0 {
		t.Errorf("%d of %d together, failed %v", together, len(ps), failed)
	}
	damaged := ps[100]
	flip(t, file(t, m, damaged.Segment), int64(damaged.Offset+damaged.Size-1))
	if _, failed := readRuns(t, l, ps, texts); len(failed) != 1 || failed[0] != damaged {
		t.Errorf("failed %v, want %v alone", failed, damaged)
	}
	if n := l.ReadRun([]queue.Pos{{}, ps[0]}, make([]*message.Message, 2)); n != 0 {
		t.Errorf("%d messages from nowhere", n)
	}
	closeLog(t, l)
	if n := l.ReadRun(ps, make([]*message.Message, len(ps))); n != 0 {
		t.Errorf("%d messages from a closed log", n)
	}
}
