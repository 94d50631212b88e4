package broker

import (
	"context"
	"log/slog"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"tridge/core/queue"
	"tridge/core/session"
	"tridge/internal/vfs"
)

const (
	// alarmEvery is how often the figures are looked at. A publisher of 1 GB/s adds 250 MB in between.
	alarmEvery = 250 * time.Millisecond
	// slack is the part of a limit, as a divisor, that a figure must come back by before its alarm ends, so that an
	// alarm does not flutter.
	slack = 20
)

// MemoryShare is that share of the smaller of the machine's memory and the limit of the control group; 0 when the system
// tells neither.
func MemoryShare(share float64) int64 {
	if memory := memoryOf(hostFiles()); memory != math.MaxInt64 {
		return int64(share * float64(memory))
	}
	return 0
}

// Alarm is one shortage that holds publishers back.
type Alarm struct {
	Shortage session.Shortage
	Limit    int64 // bytes: of memory the process may have, of disk that must be free
	Have     int64 // bytes: of memory the process has, of disk that are free; -1 when that is not known
	DiskFull bool  // the log found no space for its next segment, whatever the figures say
}

// alarms watches memory and disk, and shuts the gate.
type alarms struct {
	// immutable
	gate        session.Gate
	memoryLimit int64 // 0 is none
	diskLimit   int64 // 0 is none
	dir         vfs.Dir
	bodies      *queue.Budget
	bodyLimit   int64
	resident    func() int64 // bytes of memory the process has, 0 when that is not known
	giveBack    func()       // returns memory to the system
	slog        *slog.Logger
	poke        chan struct{} // the log has something new to say

	diskFull atomic.Bool // the log's word

	// the watcher's goroutine
	squeezed bool // the process has been made to give back what it can, and has not recovered since
	blind    bool // the free space could not be asked; said once

	mu     sync.Mutex // leaf
	raised []Alarm
}

func newAlarms(c Config, dir vfs.Dir, bodies *queue.Budget) *alarms {
	return &alarms{
		memoryLimit: max(c.MemoryLimit, 0), diskLimit: max(c.DiskFree, 0), dir: dir, bodies: bodies,
		bodyLimit: bodies.Stats().Limit, resident: residentMemory, giveBack: debug.FreeOSMemory, slog: c.Slog,
		poke: make(chan struct{}, 1),
	}
}

// setDiskFull is the log's wal.Options.DiskFull.
func (a *alarms) setDiskFull(full bool) {
	a.diskFull.Store(full)
	select {
	case a.poke <- struct{}{}:
	default: // it has been told and not looked yet
	}
}

// diskShort reports whether the disk has no space to spare: the log's word counts at once.
func (a *alarms) diskShort() bool { return a.diskFull.Load() || a.gate.Shut()&session.Disk != 0 }

// run looks at the figures until ctx ends.
func (a *alarms) run(ctx context.Context) {
	tick := time.NewTicker(alarmEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-a.poke:
		case <-ctx.Done():
			return
		}
		a.look()
	}
}

// look compares the figures with the limits once.
func (a *alarms) look() {
	var now []Alarm
	short := session.Shortage(0)
	for _, each := range []Alarm{a.memory(), a.disk()} {
		if each.Shortage != 0 {
			now = append(now, each)
			short |= each.Shortage
		}
	}
	a.mu.Lock()
	a.raised = now
	a.mu.Unlock()
	for _, each := range []session.Shortage{session.Memory, session.Disk} { // whoever is told may ask for the figures
		a.gate.Set(each, short&each != 0)
	}
}

// list returns the alarms that are raised.
func (a *alarms) list() []Alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Alarm(nil), a.raised...)
}

// memory returns the memory alarm when it is raised, else nothing. Before it is, the process gives back what it can.
func (a *alarms) memory() Alarm {
	if a.memoryLimit == 0 {
		return Alarm{}
	}
	have, raised := a.resident(), a.gate.Shut()&session.Memory != 0
	if have > a.memoryLimit && !a.squeezed {
		a.squeezed = true
		a.bodies.Squeeze(0)
		a.giveBack()
		have = a.resident()
	}
	switch {
	case have > a.memoryLimit:
		if !raised {
			a.slog.Warn("memory alarm: publishers are held back until memory is below the limit", "resident", have, "limit", a.memoryLimit)
		}
	case have > a.memoryLimit-a.memoryLimit/slack:
		if !raised {
			return Alarm{}
		}
	default:
		if a.squeezed {
			a.squeezed = false
			a.bodies.Squeeze(a.bodyLimit)
		}
		if raised {
			a.slog.Info("memory alarm is over", "resident", have, "limit", a.memoryLimit)
		}
		return Alarm{}
	}
	return Alarm{Shortage: session.Memory, Limit: a.memoryLimit, Have: have}
}

// disk returns the disk alarm when it is raised, else nothing.
func (a *alarms) disk() Alarm {
	have, full, raised := a.free(), a.diskFull.Load(), a.gate.Shut()&session.Disk != 0
	known := have >= 0 && a.diskLimit > 0
	switch {
	case full, known && have < a.diskLimit:
		if !raised {
			a.slog.Warn("disk alarm: publishers are held back until there is space", "free", have, "limit", a.diskLimit, "full", full)
		}
	case known && have < a.diskLimit+a.diskLimit/slack:
		if !raised {
			return Alarm{}
		}
	default:
		if raised {
			a.slog.Info("disk alarm is over", "free", have, "limit", a.diskLimit)
		}
		return Alarm{}
	}
	return Alarm{Shortage: session.Disk, Limit: a.diskLimit, Have: have, DiskFull: full}
}

// free is how much space there is, -1 when nobody says.
func (a *alarms) free() int64 {
	bytes, err := a.dir.Free()
	if err != nil {
		if !a.blind && a.diskLimit > 0 {
			a.slog.Warn("the free space of the data directory is not known; only a full disk is noticed", "err", err)
		}
		a.blind = true
		return -1
	}
	a.blind = false
	return int64(min(bytes, math.MaxInt64))
}
