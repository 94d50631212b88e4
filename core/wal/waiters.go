package wal

import (
	"unsafe"

	"tridge/core/confirm"
)

// run is a stretch of consecutive tickets of one sink.
type run struct {
	sink        confirm.Sink
	first, last uint64
}

// runSlots is the number of sinks whose runs can grow side by side.
const runSlots = 256

// redeem tells the sinks of tickets that they are safe, or err, each sink in the order of its tickets and consecutive
// tickets in one call, however the tickets of many sinks are mixed. scratch is returned for use next time.
func redeem(tickets []confirm.Ticket, scratch []run, err error) []run {
	var latest [runSlots]int32 // one more than the index of the run that a slot's last sink has open
	runs := scratch
	for _, t := range tickets {
		slot := &latest[slotOf(t.To)]
		if i := int(*slot) - 1; i >= 0 && same(runs[i].sink, t.To) && runs[i].last+1 == t.Seq {
			runs[i].last++
			continue
		}
		runs = append(runs, run{t.To, t.Seq, t.Seq})
		*slot = int32(len(runs))
	}
	for i := range runs {
		runs[i].sink.Confirmed(runs[i].first, runs[i].last, err)
	}
	clear(runs)
	return runs
}

// words are the two words of an interface value. They identify a sink without comparing what it holds: == would panic
// on a sink that is a function or holds a slice, and would call into the runtime for each ticket. Equal words mean the
// same sink; a sink that is copied about in different boxes only loses the merging.
func words(s *confirm.Sink) *[2]uintptr { return (*[2]uintptr)(unsafe.Pointer(s)) }

func same(a, b confirm.Sink) bool { return *words(&a) == *words(&b) }

func slotOf(s confirm.Sink) int {
	const golden = 0x9e3779b97f4a7c15
	return int(uint64(words(&s)[1]) * golden >> 56)
}
