package wal

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// counted is a recovery that only counts.
type counted struct{ messages, rows int }

func (c *counted) Row(queue.Row, queue.Pos) error { c.rows++; return nil }

func (c *counted) Message(queue.Pos, queue.Info, []uint32) error { c.messages++; return nil }

// backlog leaves a log in dir with so many messages of size bytes, of which every keep-th waits.
func backlog(b *testing.B, dir string, messages, size, keep int, clean bool) Stats {
	b.Helper()
	l, err := Open(vfs.OS{}, dir, Options{Sync: SyncNever, Fatal: func(error) {}}, &counted{})
	if err != nil {
		b.Fatal(err)
	}
	m := &message.Message{Exchange: "amq.topic", Key: "a.b", Body: make([]byte, size), Guarantee: message.AtLeastOnce}
	for i := range m.Body {
		m.Body[i] = byte(i * 7)
	}
	var done []queue.Pos
	for i := range messages {
		p, _, err := l.Append(m, []uint32{1})
		if err != nil {
			b.Fatal(err)
		}
		if i%keep != 0 {
			done = append(done, p)
		}
		if len(done) == 100 || i == messages-1 {
			if _, err := l.Ack(1, done); err != nil {
				b.Fatal(err)
			}
			done = done[:0]
		}
	}
	if err := l.syncAll(); err != nil {
		b.Fatal(err)
	}
	stats := l.Stats()
	if !clean { // as a killed process leaves it: the last segment has no footer
		l.mu.Lock()
		l.err = ErrClosed
		l.mu.Unlock()
	}
	_ = l.Close()
	return stats
}

// BenchmarkRestart opens a log that holds a backlog, with the files in the system's cache. RESTART_MESSAGES says how
// many; a million takes 1.1 GB of disk.
func BenchmarkRestart(b *testing.B) {
	messages := 100_000
	if n, err := strconv.Atoi(os.Getenv("RESTART_MESSAGES")); err == nil {
		messages = n
	}
	for _, test := range []struct {
		name       string
		size, keep int
		clean      bool
	}{
		{"1KiB/killed", 1024, 1, false}, {"1KiB/closed", 1024, 1, true},
		{"1KiB/killed/half-acked", 1024, 2, false}, {"16B/killed", 16, 1, false},
	} {
		b.Run(fmt.Sprint(test.name), func(b *testing.B) {
			dir := b.TempDir()
			before := backlog(b, dir, messages, test.size, test.keep, test.clean)
			b.ResetTimer()
			for range b.N {
				b.StopTimer()
				runtime.GC()
				var memory runtime.MemStats
				runtime.ReadMemStats(&memory)
				allocated := memory.TotalAlloc
				b.StartTimer()
				var found counted
				l, err := Open(vfs.OS{}, dir, Options{Fatal: func(error) {}}, &found)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				runtime.ReadMemStats(&memory)
				if want := (messages + test.keep - 1) / test.keep; found.messages != want {
					b.Fatalf("%d messages, want %d", found.messages, want)
				}
				b.ReportMetric(float64(memory.TotalAlloc-allocated)/float64(messages), "B/message")
				l.mu.Lock()
				l.err = ErrClosed
				l.mu.Unlock()
				_ = l.Close()
				b.StartTimer()
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/restart")
			b.ReportMetric(float64(before.LogBytes)/1e6, "MB")
		})
	}
}
