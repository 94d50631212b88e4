//go:build linux || darwin

package wal

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/internal/vfs"
)

// window is a sink that lets its publisher have so many messages unconfirmed.
type window struct {
	mu   sync.Mutex
	room sync.Cond
	free int
	done uint64
}

func newWindow(n int) *window {
	w := &window{free: n}
	w.room.L = &w.mu
	return w
}

func (w *window) Confirmed(first, last uint64, err error) {
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	w.free += int(last - first + 1)
	w.done += last - first + 1
	w.room.Signal()
	w.mu.Unlock()
}

func (w *window) acquire() {
	w.mu.Lock()
	for w.free == 0 {
		w.room.Wait()
	}
	w.free--
	w.mu.Unlock()
}

func (w *window) drain(n uint64) {
	w.mu.Lock()
	for w.done < n {
		w.room.Wait()
	}
	w.mu.Unlock()
}

func cpuMicros(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e3
}

// BenchmarkAppendSync publishes durable messages from K publishers with W unconfirmed each, on a real disk, every
// confirm after its sync.
func BenchmarkAppendSync(b *testing.B) {
	for _, size := range []int{16, 1024} {
		for _, shape := range [][2]int{{1, 1}, {1, 64}, {16, 1}, {16, 64}, {16, 1024}} {
			b.Run(fmt.Sprintf("%dB/K%d/W%d", size, shape[0], shape[1]), func(b *testing.B) {
				benchmarkAppend(b, size, shape[0], shape[1])
			})
		}
	}
}

func benchmarkAppend(b *testing.B, size, publishers, unconfirmed int) {
	l, err := Open(vfs.OS{}, b.TempDir(), Options{Fatal: func(err error) { b.Error(err) }}, newFound())
	if err != nil {
		b.Fatal(err)
	}
	m := &message.Message{Exchange: "amq.topic", Key: "a.b", Body: make([]byte, size), Guarantee: message.AtLeastOnce}
	b.SetBytes(int64(size))
	before := l.Stats()
	cpu := cpuMicros(b)
	b.ResetTimer()
	var running sync.WaitGroup
	for i := range publishers {
		n := uint64(b.N / publishers)
		if i == 0 {
			n += uint64(b.N % publishers)
		}
		running.Go(func() {
			w := newWindow(unconfirmed)
			queues := []uint32{uint32(i + 1)}
			for seq := uint64(1); seq <= n; seq++ {
				w.acquire()
				_, r, err := l.Append(m, queues)
				if err != nil {
					b.Error(err)
					return
				}
				r.Redeem(confirm.Ticket{To: w, Seq: seq})
			}
			w.drain(n)
		})
	}
	running.Wait()
	b.StopTimer()
	after := l.Stats()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric((cpuMicros(b)-cpu)/float64(b.N), "cpu-us/msg")
	b.ReportMetric(float64(b.N)/float64(max(after.Syncs-before.Syncs, 1)), "msg/sync")
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
