package retained

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"tridge/core/queue"
)

// BenchmarkMemory prints what a million retained messages keep in memory beside the log.
func BenchmarkMemory(b *testing.B) {
	for name, key := range map[string]func(i int) string{
		"wide": func(i int) string { return fmt.Sprintf("devices.%07d.state", i) },
		"flat": func(i int) string { return fmt.Sprintf("%024d", i) },
		"deep": func(i int) string { return fmt.Sprintf("%d%s", i, strings.Repeat(".a", 199)) },
	} {
		b.Run(name, func(b *testing.B) {
			n := 1_000_000
			if name == "deep" {
				n /= 50
			}
			for b.Loop() {
				s := New("/", nil, nil)
				before := heap()
				for i := range n {
					s.set(&value{key: key(i), at: queue.Pos{Seq: uint64(i + 1)}})
				}
				b.ReportMetric(float64(heap()-before)/float64(n), "B/topic")
				runtime.KeepAlive(s)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
