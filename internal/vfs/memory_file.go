package vfs

import (
	"io"
	"math/rand/v2"
	"slices"
)

// memoryNode is a file's contents, guarded by Memory.mu.
type memoryNode struct {
	name  string
	data  []byte
	safe  []byte  // contents as of the last Sync
	sizes []int64 // lengths it has had since

	// sectors holds, by number, every content a sector was given since the last Sync.
	sectors map[int64][][]byte
}

type memoryFile struct {
	m *Memory
	n *memoryNode
}

func (f memoryFile) ReadAt(p []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.crashed {
		return 0, ErrCrashed
	}
	if at >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f memoryFile) WriteAt(p []byte, at int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.crashed {
		return 0, ErrCrashed
	}
	if end := at + int64(len(p)); end > int64(len(f.n.data)) {
		f.n.resize(end)
	}
	copy(f.n.data[at:], p)
	f.n.touch(at, at+int64(len(p)))
	return len(p), nil
}

func (f memoryFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.crashed {
		return 0, ErrCrashed
	}
	return int64(len(f.n.data)), nil
}

func (f memoryFile) Preallocate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.crashed {
		return ErrCrashed
	}
	if size > int64(len(f.n.data)) {
		f.n.resize(size)
	}
	return nil
}

func (f memoryFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.crashed {
		return ErrCrashed
	}
	f.n.resize(size)
	return nil
}

func (f memoryFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.crashed {
		return ErrCrashed
	}
	f.n.sync()
	return nil
}

func (f memoryFile) Close() error { return nil }

func (n *memoryNode) resize(size int64) {
	if size <= int64(len(n.data)) {
		n.data = n.data[:size:size] // a later growth must read as zeroes, so the old bytes are let go
	} else {
		n.data = append(n.data, make([]byte, size-int64(len(n.data)))...)
	}
	n.sizes = append(n.sizes, size)
}

// touch remembers the contents of the sectors that hold [from, to).
func (n *memoryNode) touch(from, to int64) {
	for s := from / sectorSize; s*sectorSize < to; s++ {
		n.sectors[s] = append(n.sectors[s], slices.Clone(n.data[s*sectorSize:min((s+1)*sectorSize, int64(len(n.data)))]))
	}
}

func (n *memoryNode) sync() {
	if len(n.sizes) > 0 {
		grown := make([]byte, len(n.data))
		copy(grown, n.safe)
		n.safe = grown
		// Bytes beyond a length it had in between read as zero, wherever the safe copy has something else.
		if low := slices.Min(n.sizes); low < int64(len(n.safe)) {
			copy(n.safe[low:], n.data[low:])
		}
	}
	for s := range n.sectors {
		if at := s * sectorSize; at < int64(len(n.data)) {
			copy(n.safe[at:min(at+sectorSize, int64(len(n.safe)))], n.data[at:])
		}
	}
	n.sizes = nil
	clear(n.sectors)
}

// afterCrash picks for the length and for each sector one of the values it had since the last Sync.
func (n *memoryNode) afterCrash(name string, random *rand.Rand) *memoryNode {
	size := int64(len(n.safe))
	if i := random.IntN(len(n.sizes) + 1); i > 0 {
		size = n.sizes[i-1]
	}
	data := make([]byte, size)
	copy(data, n.safe)
	touched := make([]int64, 0, len(n.sectors))
	for s := range n.sectors {
		touched = append(touched, s)
	}
	slices.Sort(touched)
	for _, s := range touched {
		versions := n.sectors[s]
		i := random.IntN(len(versions) + 1)
		if at := s * sectorSize; i > 0 && at < size {
			copy(data[at:], versions[i-1])
		}
	}
	return &memoryNode{name: name, data: data, safe: slices.Clone(data), sectors: map[int64][][]byte{}}
}
