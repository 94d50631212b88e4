package vfs

import (
	"errors"
	"io"
	"syscall"
)

var (
	// ErrLocked says that another process, or another part of this one, holds the lock.
	ErrLocked = errors.New("vfs: locked by another process")
	// ErrCrashed is the result of every operation on a file system whose power is gone.
	ErrCrashed = errors.New("vfs: the machine has lost power")
)

// NoSpace reports whether err says that the disk, or this process's share of it, is full: that may pass, while any other
// failed operation proves nothing good.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || systemNoSpace(err)
}

// Unreadable reports whether err says that the disk cannot read what is there, a bad sector for instance, while the
// operation itself was right.
func Unreadable(err error) bool { return errors.Is(err, syscall.EIO) }

// FS is a file system.
type FS interface {
	// Dir returns the directory at path and makes it, with its parents, when it is missing. Once it has returned, a
	// crash does not take the directory away.
	Dir(path string) (Dir, error)
	// Existing returns the directory at path and makes none: a missing one is fs.ErrNotExist.
	Existing(path string) (Dir, error)
}

// Dir is one directory. Names are plain names, without separators. What Create, Rename and Remove did is safe from a
// crash only after Sync.
type Dir interface {
	// Create makes an empty file; it is an error (fs.ErrExist) when the name is taken.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// List returns the names in the directory, sorted.
	List() ([]string, error)
	Sync() error
	// Lock holds the directory against other processes, by a file of the given name, until it is closed.
	// It fails with ErrLocked at once and never waits.
	Lock(name string) (io.Closer, error)
	// Free is how many bytes of the file system the directory is on this process may still fill.
	Free() (uint64, error)
}

// File is an open file. ReadAt may be called from many goroutines at once, also while somebody writes elsewhere.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Preallocate makes the file size bytes long, at least, and reserves the space, so that writes within it neither
	// change the length nor fail for want of space. New bytes read as zero. Where a file system cannot reserve space, the
	// file only gets its length, and a write may find the disk full after all.
	Preallocate(size int64) error
	Truncate(size int64) error
	// Sync makes the contents and the length safe from a crash, not the name: that is Dir.Sync. After it has failed
	// once nothing is known about what was written since it last succeeded, and calling it again proves nothing.
	Sync() error
}
