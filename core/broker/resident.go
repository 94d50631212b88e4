package broker

import (
	"bytes"
	"os"
	"runtime/metrics"
	"strconv"
)

// residentMemory is how much of the machine's memory the process has, in bytes: what the system would count before it
// ends the process. Where /proc does not say, it is what the runtime holds, which leaves out what the kernel keeps.
func residentMemory() int64 {
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(text); len(fields) > 1 {
			if pages, err := strconv.ParseInt(string(fields[1]), 10, 64); err == nil {
				return pages * int64(os.Getpagesize())
			}
		}
	}
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}
