package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"testing"
)

// mustDo fails the test on the first error.
func mustDo(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, d Dir, name string) File {
	t.Helper()
	f, err := d.Create(name)
	mustDo(t, err)
	return f
}

func write(t *testing.T, f File, at int64, data []byte) {
	t.Helper()
	if n, err := f.WriteAt(data, at); err != nil || n != len(data) {
		t.Fatalf("write: %d, %v", n, err)
	}
}

func contents(t *testing.T, d Dir, name string) []byte {
	t.Helper()
	f, err := d.Open(name)
	mustDo(t, err)
	size, err := f.Size()
	mustDo(t, err)
	data := make([]byte, size)
	if size > 0 {
		_, err = f.ReadAt(data, 0)
	}
	mustDo(t, err, f.Close())
	return data
}

// TestFilesBehaveAlike holds the memory file system against the operating system's.
func TestFilesBehaveAlike(t *testing.T) {
	for _, test := range []struct {
		name string
		fs   FS
		root string
	}{
		{"operating system", OS{}, t.TempDir()},
		{"memory", NewMemory(), "root"},
		{"injected", Inject(NewMemory(), func(Op) error { return nil }), "root"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := test.fs.Dir(test.root + "/a/b")
			mustDo(t, err)
			f := create(t, d, "one")
			if _, err := d.Create("one"); !errors.Is(err, fs.ErrExist) {
				t.Errorf("create twice: %v, want ErrExist", err)
			}
			if _, err := d.Open("two"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("open what is not there: %v, want ErrNotExist", err)
			}
			mustDo(t, f.Preallocate(2000))
			write(t, f, 510, []byte("abcd"))
			mustDo(t, f.Sync(), f.Preallocate(10))
			want := make([]byte, 2000)
			copy(want[510:], "abcd")
			if got := contents(t, d, "one"); !bytes.Equal(got, want) {
				t.Errorf("contents differ")
			}
			mustDo(t, f.Truncate(512), f.Truncate(520))
			if got, want := contents(t, d, "one")[508:], []byte("\x00\x00ab\x00\x00\x00\x00\x00\x00\x00\x00"); !bytes.Equal(got, want) {
				t.Errorf("after truncation %q, want %q", got, want)
			}
			mustDo(t, d.Rename("one", "three"), d.Sync())
			lock, err := d.Lock("lock")
			mustDo(t, err)
			if _, err := d.Lock("lock"); !errors.Is(err, ErrLocked) {
				t.Errorf("second lock: %v, want ErrLocked", err)
			}
			mustDo(t, lock.Close())
			lock, err = d.Lock("lock")
			mustDo(t, err, lock.Close())
			names, err := d.List()
			mustDo(t, err)
			if !slices.Contains(names, "three") || slices.Contains(names, "one") {
				t.Errorf("names %v", names)
			}
			mustDo(t, f.Close(), d.Remove("three"))
			if err := d.Remove("three"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("remove twice: %v, want ErrNotExist", err)
			}
		})
	}
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	m := NewMemory()
	d, _ := m.Dir("d")
	f := create(t, d, "f")
	safe := bytes.Repeat([]byte("s"), 3*sectorSize)
	write(t, f, 0, safe)
	mustDo(t, f.Sync(), d.Sync())
	for seed := range uint64(50) {
		back, _ := m.Crash(seed).Dir("d")
		if got := contents(t, back, "f"); !bytes.Equal(got, safe) {
			t.Fatalf("seed %d: what was synced has changed", seed)
		}
	}
	if _, err := f.WriteAt(safe, 0); !errors.Is(err, ErrCrashed) {
		t.Errorf("write after the crash: %v, want ErrCrashed", err)
	}
}

// TestCrashKeepsAnySubset checks that each of the outcomes a disk may have is found under some seed.
func TestCrashKeepsAnySubset(t *testing.T) {
	m := NewMemory()
	d, _ := m.Dir("d")
	f := create(t, d, "f")
	write(t, f, 0, bytes.Repeat([]byte("0"), 2*sectorSize))
	create(t, d, "old")
	mustDo(t, f.Sync(), d.Sync())
	write(t, f, 0, bytes.Repeat([]byte("1"), 2*sectorSize))
	write(t, f, sectorSize, bytes.Repeat([]byte("2"), sectorSize))
	create(t, d, "new")
	mustDo(t, d.Remove("old"))
	seen := map[string]bool{}
	for seed := range uint64(400) {
		back, _ := m.Crash(seed).Dir("d")
		data := contents(t, back, "f")
		for i := range data {
			if data[i] != data[i/sectorSize*sectorSize] {
				t.Fatalf("seed %d: a sector is a mixture", seed)
			}
		}
		names, _ := back.List()
		seen[fmt.Sprintf("%c%c %v %v", data[0], data[sectorSize], slices.Contains(names, "new"), slices.Contains(names, "old"))] = true
	}
	if want := 2 * 3 * 2 * 2; len(seen) != want {
		t.Errorf("%d outcomes seen, want %d: %v", len(seen), want, seen)
	}
}

func TestUnsyncedLengthMayBeLost(t *testing.T) {
	m := NewMemory()
	d, _ := m.Dir("d")
	f := create(t, d, "f")
	write(t, f, 0, make([]byte, 100))
	mustDo(t, f.Sync(), d.Sync(), f.Truncate(10), f.Preallocate(700))
	seen := map[int]bool{}
	for seed := range uint64(50) {
		back, _ := m.Crash(seed).Dir("d")
		seen[len(contents(t, back, "f"))] = true
	}
	if !seen[10] || !seen[100] || !seen[700] || len(seen) != 3 {
		t.Errorf("lengths %v, want 10, 100 and 700", seen)
	}
}

func TestInjectedFaults(t *testing.T) {
	var failing Kind
	var failure error = syscall.EIO
	f := Inject(NewMemory(), func(op Op) error {
		if op.Kind == failing {
			return failure
		}
		return nil
	})
	d, err := f.Dir("d")
	mustDo(t, err)
	file := create(t, d, "f")
	operations := map[Kind]func() error{
		OpDir:         func() error { _, err := f.Dir("e"); return err },
		OpCreate:      func() error { _, err := d.Create("x"); return err },
		OpOpen:        func() error { _, err := d.Open("f"); return err },
		OpRename:      func() error { return d.Rename("f", "g") },
		OpRemove:      func() error { return d.Remove("f") },
		OpList:        func() error { _, err := d.List(); return err },
		OpSyncDir:     d.Sync,
		OpLock:        func() error { _, err := d.Lock("l"); return err },
		OpRead:        func() error { _, err := file.ReadAt(make([]byte, 1), 0); return err },
		OpWrite:       func() error { _, err := file.WriteAt([]byte("abc"), 0); return err },
		OpPreallocate: func() error { return file.Preallocate(100) },
		OpTruncate:    func() error { return file.Truncate(0) },
		OpSync:        file.Sync,
	}
	for kind, operate := range operations {
		failing = kind
		if err := operate(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v, want EIO", kind, err)
		}
	}
	failing = OpWrite
	failure = ShortWrite{N: 2, Err: syscall.ENOSPC}
	if n, err := file.WriteAt([]byte("abc"), 0); n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("short write: %d, %v, want 2, ENOSPC", n, err)
	}
	if got := contents(t, d, "f"); string(got) != "ab" {
		t.Errorf("contents %q, want %q", got, "ab")
	}
}
