package session

import (
	"sync"
	"sync/atomic"
)

// Shortage is a set of things the gateway is short of.
type Shortage uint32

const (
	Memory Shortage = 1 << iota
	Disk
)

// String says it as peers are told.
func (s Shortage) String() string {
	switch s {
	case 0:
		return ""
	case Memory:
		return "low on memory"
	case Disk:
		return "low on disk"
	}
	return "low on memory & disk"
}

// Gate stands before everything that publishes. While it is shut for a shortage, readers park what their peers publish
// (see Park) and consumers run on, because they are what ends it. A nil gate is always open. All methods are safe for
// concurrent use.
type Gate struct {
	shut atomic.Uint32 // Shortage

	mu       sync.Mutex // leaf
	watchers map[*Watcher]struct{}
}

// Watcher is one who wants to know when the gate changes. The zero value watches nothing.
type Watcher struct {
	changed func()
}

// Shut returns what the gate is shut for; 0 is open. It costs one atomic load.
func (g *Gate) Shut() Shortage {
	if g == nil {
		return 0
	}
	return Shortage(g.shut.Load())
}

// Set shuts or opens the gate for one shortage, and tells the watchers on the caller's goroutine when that changes
// anything.
func (g *Gate) Set(s Shortage, shut bool) {
	g.mu.Lock()
	before := Shortage(g.shut.Load())
	after := before &^ s
	if shut {
		after = before | s
	}
	if after == before {
		g.mu.Unlock()
		return
	}
	g.shut.Store(uint32(after))
	told := make([]*Watcher, 0, len(g.watchers))
	for w := range g.watchers {
		told = append(told, w)
	}
	g.mu.Unlock()
	for _, w := range told {
		w.changed()
	}
}

// Watch has changed called whenever the gate changes from now on, until Unwatch. It must not block, is called with no
// lock held, on a goroutine that others wait for, and should ask Shut for what is true now: a call may come late, once
// also after Unwatch. A watcher that watches already goes on as it is.
func (g *Gate) Watch(w *Watcher, changed func()) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, already := g.watchers[w]; already {
		return
	}
	if g.watchers == nil {
		g.watchers = map[*Watcher]struct{}{}
	}
	w.changed = changed
	g.watchers[w] = struct{}{}
}

// Unwatch ends what Watch began.
func (g *Gate) Unwatch(w *Watcher) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.watchers, w)
}
