package vfs

import "io"

// Kind names an operation.
type Kind string

const (
	OpDir         Kind = "dir"
	OpCreate      Kind = "create"
	OpOpen        Kind = "open"
	OpRename      Kind = "rename"
	OpRemove      Kind = "remove"
	OpList        Kind = "list"
	OpSyncDir     Kind = "sync directory"
	OpLock        Kind = "lock"
	OpRead        Kind = "read"
	OpWrite       Kind = "write"
	OpPreallocate Kind = "preallocate"
	OpTruncate    Kind = "truncate"
	OpSync        Kind = "sync"
	OpFree        Kind = "free space"
)

// Op is one operation about to happen.
type Op struct {
	Kind Kind
	Name string // file or directory
	Size int    // bytes to write, of OpWrite
}

// Changes reports whether the operation can change what is on the disk.
func (o Op) Changes() bool {
	switch o.Kind {
	case OpOpen, OpList, OpLock, OpRead, OpDir, OpFree:
		return false
	}
	return true
}

// ShortWrite is returned by a hook to have the first N bytes written and the write fail with Err.
type ShortWrite struct {
	N   int
	Err error
}

func (s ShortWrite) Error() string { return s.Err.Error() }
func (s ShortWrite) Unwrap() error { return s.Err }

// Inject returns inner with before called ahead of each operation: an error fails the operation without carrying it
// out; a hook that does not return holds it up. The hook is called from whatever goroutine operates.
func Inject(inner FS, before func(Op) error) FS { return injectedFS{inner, before} }

type injectedFS struct {
	inner  FS
	before func(Op) error
}

func (f injectedFS) Dir(path string) (Dir, error) { return f.dir(path, f.inner.Dir) }

func (f injectedFS) Existing(path string) (Dir, error) { return f.dir(path, f.inner.Existing) }

func (f injectedFS) dir(path string, find func(string) (Dir, error)) (Dir, error) {
	if err := f.before(Op{Kind: OpDir, Name: path}); err != nil {
		return nil, err
	}
	d, err := find(path)
	if err != nil {
		return nil, err
	}
	return injectedDir{d, path, f.before}, nil
}

type injectedDir struct {
	inner  Dir
	path   string
	before func(Op) error
}

func (d injectedDir) Create(name string) (File, error) {
	if err := d.before(Op{Kind: OpCreate, Name: name}); err != nil {
		return nil, err
	}
	return d.file(name)(d.inner.Create(name))
}

func (d injectedDir) Open(name string) (File, error) {
	if err := d.before(Op{Kind: OpOpen, Name: name}); err != nil {
		return nil, err
	}
	return d.file(name)(d.inner.Open(name))
}

func (d injectedDir) file(name string) func(File, error) (File, error) {
	return func(f File, err error) (File, error) {
		if err != nil {
			return nil, err
		}
		return injectedFile{f, name, d.before}, nil
	}
}

func (d injectedDir) Rename(from, to string) error {
	if err := d.before(Op{Kind: OpRename, Name: from}); err != nil {
		return err
	}
	return d.inner.Rename(from, to)
}

func (d injectedDir) Remove(name string) error {
	if err := d.before(Op{Kind: OpRemove, Name: name}); err != nil {
		return err
	}
	return d.inner.Remove(name)
}

func (d injectedDir) List() ([]string, error) {
	if err := d.before(Op{Kind: OpList, Name: d.path}); err != nil {
		return nil, err
	}
	return d.inner.List()
}

func (d injectedDir) Sync() error {
	if err := d.before(Op{Kind: OpSyncDir, Name: d.path}); err != nil {
		return err
	}
	return d.inner.Sync()
}

func (d injectedDir) Lock(name string) (io.Closer, error) {
	if err := d.before(Op{Kind: OpLock, Name: name}); err != nil {
		return nil, err
	}
	return d.inner.Lock(name)
}

func (d injectedDir) Free() (uint64, error) {
	if err := d.before(Op{Kind: OpFree, Name: d.path}); err != nil {
		return 0, err
	}
	return d.inner.Free()
}

type injectedFile struct {
	File
	name   string
	before func(Op) error
}

func (f injectedFile) ReadAt(p []byte, at int64) (int, error) {
	if err := f.before(Op{Kind: OpRead, Name: f.name}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, at)
}

func (f injectedFile) WriteAt(p []byte, at int64) (int, error) {
	err := f.before(Op{Kind: OpWrite, Name: f.name, Size: len(p)})
	if short, ok := err.(ShortWrite); ok {
		n, err := f.File.WriteAt(p[:min(short.N, len(p))], at)
		if err == nil {
			err = short.Err
		}
		return n, err
	}
	if err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, at)
}

func (f injectedFile) Preallocate(size int64) error {
	if err := f.before(Op{Kind: OpPreallocate, Name: f.name}); err != nil {
		return err
	}
	return f.File.Preallocate(size)
}

func (f injectedFile) Truncate(size int64) error {
	if err := f.before(Op{Kind: OpTruncate, Name: f.name}); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f injectedFile) Sync() error {
	if err := f.before(Op{Kind: OpSync, Name: f.name}); err != nil {
		return err
	}
	return f.File.Sync()
}
