package vfs

import (
	"io"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
)

// sectorSize is what a disk writes as one: a crash leaves each sector with one of the contents it was given since the
// last sync, never a mixture.
const sectorSize = 512

// Memory is a file system in memory that remembers, beside what was written, what was made safe. It is safe for
// concurrent use.
type Memory struct {
	mu      sync.Mutex
	dirs    map[string]*memoryDir
	crashed bool
	free    uint64 // what Free answers
}

var _ FS = (*Memory)(nil)

// NewMemory returns an empty file system.
func NewMemory() *Memory { return &Memory{dirs: map[string]*memoryDir{}, free: math.MaxUint64} }

// SetFree says what Free answers from now on; so far it is without end. Nothing fails on its account.
func (m *Memory) SetFree(bytes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free = bytes
}

// PowerOff stops the machine: every operation from now on fails with ErrCrashed.
func (m *Memory) PowerOff() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashed = true
}

// Crash stops the machine and returns what it finds on its disk when it comes back: all that was synced and, chosen
// by seed, an arbitrary part of what was not: single sectors, lengths, creations, renames and removals. Locks are gone.
// The same seed over the same operations gives the same result. Crash does not change what another Crash would find.
func (m *Memory) Crash(seed uint64) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashed = true
	random := rand.New(rand.NewPCG(seed, seed))
	back := NewMemory()
	for _, path := range slices.Sorted(maps.Keys(m.dirs)) {
		back.dirs[path] = m.dirs[path].afterCrash(back, random)
	}
	return back
}

// Dir implements FS. A directory's own name is safe at once.
func (m *Memory) Dir(path string) (Dir, error) {
	path = filepath.Clean(path)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.crashed {
		return nil, ErrCrashed
	}
	d := m.dirs[path]
	if d == nil {
		d = &memoryDir{m: m, path: path, names: map[string]*memoryNode{}, safe: map[string]*memoryNode{},
			locks: map[string]bool{}}
		m.dirs[path] = d
	}
	return d, nil
}

// Existing implements FS.
func (m *Memory) Existing(path string) (Dir, error) {
	path = filepath.Clean(path)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.crashed {
		return nil, ErrCrashed
	}
	d := m.dirs[path]
	if d == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return d, nil
}

// memoryDir is guarded by m.mu.
type memoryDir struct {
	m       *Memory
	path    string
	names   map[string]*memoryNode
	safe    map[string]*memoryNode // names as of the last Sync
	pending []func(map[string]*memoryNode)
	locks   map[string]bool
}

// change does something to the names that a crash may or may not keep.
func (d *memoryDir) change(f func(map[string]*memoryNode)) {
	f(d.names)
	d.pending = append(d.pending, f)
}

func (d *memoryDir) Create(name string) (File, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.crashed {
		return nil, ErrCrashed
	}
	if d.names[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	n := &memoryNode{name: name, sectors: map[int64][][]byte{}}
	d.change(func(names map[string]*memoryNode) { names[name] = n })
	return memoryFile{d.m, n}, nil
}

func (d *memoryDir) Open(name string) (File, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.crashed {
		return nil, ErrCrashed
	}
	n := d.names[name]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return memoryFile{d.m, n}, nil
}

func (d *memoryDir) Rename(from, to string) error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.crashed {
		return ErrCrashed
	}
	n := d.names[from]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	d.change(func(names map[string]*memoryNode) {
		delete(names, from)
		names[to] = n
	})
	return nil
}

func (d *memoryDir) Remove(name string) error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.crashed {
		return ErrCrashed
	}
	if d.names[name] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	d.change(func(names map[string]*memoryNode) { delete(names, name) })
	return nil
}

func (d *memoryDir) List() ([]string, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.crashed {
		return nil, ErrCrashed
	}
	return slices.Sorted(maps.Keys(d.names)), nil
}

func (d *memoryDir) Sync() error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.crashed {
		return ErrCrashed
	}
	d.safe = maps.Clone(d.names)
	d.pending = nil
	return nil
}

func (d *memoryDir) Lock(name string) (io.Closer, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.crashed {
		return nil, ErrCrashed
	}
	if d.locks[name] {
		return nil, ErrLocked
	}
	d.locks[name] = true
	return memoryLock{d, name}, nil
}

func (d *memoryDir) Free() (uint64, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.crashed {
		return 0, ErrCrashed
	}
	return d.m.free, nil
}

// afterCrash applies an arbitrary subset of what was not synced: names can reach the disk in any order.
func (d *memoryDir) afterCrash(back *Memory, random *rand.Rand) *memoryDir {
	names := maps.Clone(d.safe)
	for _, f := range d.pending {
		if random.IntN(2) == 0 {
			f(names)
		}
	}
	found := make(map[string]*memoryNode, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		found[name] = names[name].afterCrash(name, random)
	}
	return &memoryDir{m: back, path: d.path, names: found, safe: maps.Clone(found), locks: map[string]bool{}}
}

type memoryLock struct {
	d    *memoryDir
	name string
}

func (l memoryLock) Close() error {
	l.d.m.mu.Lock()
	defer l.d.m.mu.Unlock()
	delete(l.d.locks, l.name)
	return nil
}
