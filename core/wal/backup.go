package wal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"tridge/internal/vfs"
)

const (
	// unfinishedName and unrepairedName are files that a backup and a repaired log have until they are complete: a log
	// with one of them is not opened.
	unfinishedName = "backup.unfinished"
	unrepairedName = "repair.unfinished"
	// backupChunk is how much a backup copies at once, and backupSync after how much it waits for the disk. The flush
	// loop's syncs come in between: a disk that were given a whole segment to write would keep them waiting for it.
	backupChunk = 1 << 20
	backupSync  = 8 << 20
)

// ErrUnfinished says that a directory holds a backup or a repair that never came to its end.
var ErrUnfinished = errors.New("wal: the directory holds an unfinished backup or repair: delete it")

// BackedUp says what a backup holds.
type BackedUp struct {
	Segments int
	Bytes    int64
}

// Backup copies the log to dir of fs, which is made when missing and must be empty, while the log is in use. The copy
// is a log of its own: it has everything that was safe before the call, and what came until some moment before the
// return. Whatever happens meanwhile, dir is opened as a log only when the copy is complete and synced. When ctx ends, or
// anything fails, what was copied is removed; a failure to write the copy is no failure of the log.
//
// A segment is held against removal only while it is copied.
func (l *Log) Backup(ctx context.Context, fs vfs.FS, dir string) (BackedUp, error) {
	b, err := newBackup(fs, dir)
	if err != nil {
		return BackedUp{}, err
	}
	b.stop = l.stop
	if err := l.copyTo(ctx, b); err != nil {
		return BackedUp{}, errors.Join(err, b.undo())
	}
	return b.finish()
}

// CopyStopped is Backup of a log in from that nobody has open (vfs.ErrLocked).
func CopyStopped(ctx context.Context, fs vfs.FS, from, dir string) (done BackedUp, err error) {
	i, err := inspect(fs, from)
	if err != nil {
		return BackedUp{}, err
	}
	defer func() { err = errors.Join(err, i.close()) }()
	if i.missing != 0 {
		return BackedUp{}, &CorruptionError{Segment: i.missing, Err: errMissing}
	}
	b, err := newBackup(fs, dir)
	if err != nil {
		return BackedUp{}, err
	}
	segments := i.log.segments
	if i.rest.torn {
		// That the first write to it had begun says that the segment before it was synced: see format.md.
		segments = append(segments, i.rest.segments[len(i.rest.segments)-1])
	}
	for _, s := range segments {
		size, err := s.file.Size()
		if err == nil {
			err = b.copy(ctx, s.id, s.file, size)
		}
		if err != nil {
			return BackedUp{}, errors.Join(err, b.undo())
		}
	}
	return b.finish()
}

// copyTo copies segments from the oldest to the one that is appended to.
//
// The copy is the log as a crash could have left it at the moment its last byte was copied: sealed segments do not change
// any more, and one that was removed after it was copied is there as if its removal had not reached the disk. But only if
// those behind it are there, too: so when the next one is gone, what was copied so far goes, because the survivors of all of it
// are further on.
func (l *Log) copyTo(ctx context.Context, b *backup) error {
	upTo := uint32(0) // the segment that was appended to when everything was synced, 0 while that is still to be done
	for {
		s, size, sealed, err := l.pin(b.newest() + 1)
		if err != nil {
			return err
		}
		if len(b.made) > 0 && s.id != b.newest()+1 {
			upTo = 0 // survivors of what is gone may have been copied to the end since
			err = b.forget()
		}
		switch {
		case err != nil:
		case sealed || upTo == s.id && size > 0:
			err = b.copy(ctx, s.id, s.file, int64(size))
		}
		l.unpin(s)
		switch {
		case err != nil || upTo == s.id:
			return err
		case !sealed:
			if upTo, err = l.syncedUpTo(); err != nil {
				return err
			}
		}
	}
}

// pin holds the segment of that id open, or the oldest when it is gone, and says how much of it is written.
func (l *Log) pin(id uint32) (s *segment, size int, sealed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err != nil:
		return nil, 0, false, l.err
	case l.closed:
		return nil, 0, false, ErrClosed
	}
	if s = l.segment(id); s == nil {
		s = l.segments[0]
	}
	s.readers++
	return s, s.written, s.sealed, nil
}

func (l *Log) unpin(s *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.readers--; s.readers == 0 {
		l.settled.Broadcast()
	}
}

// syncedUpTo syncs everything appended so far and returns the segment that has the last of it.
func (l *Log) syncedUpTo() (uint32, error) {
	l.mu.Lock()
	id := l.last().id
	l.mu.Unlock()
	return id, l.syncAll()
}

// backup is a copy that is being made.
type backup struct {
	dir   vfs.Dir
	path  string
	stop  <-chan struct{} // closed when the log is; nil when nobody has it open
	made  []uint32        // segments, ids ascending
	bytes int64
	chunk []byte
}

// newBackup begins a copy in dir, which must be empty.
func newBackup(fs vfs.FS, dir string) (*backup, error) {
	d, err := fs.Dir(dir)
	if err != nil {
		return nil, fmt.Errorf("wal: back up to %s: %w", dir, err)
	}
	names, err := d.List()
	if err == nil && len(names) > 0 {
		err = errors.New("the directory is not empty")
	}
	if err != nil {
		return nil, fmt.Errorf("wal: back up to %s: %w", dir, err)
	}
	b := &backup{dir: d, path: dir, chunk: make([]byte, backupChunk)}
	f, err := d.Create(unfinishedName)
	if err != nil { // the mark, if one is there, is that of another backup, which has come since the look
		return nil, b.failed(err)
	}
	if err := errors.Join(f.Close(), d.Sync()); err != nil {
		return nil, errors.Join(b.failed(err), b.undo())
	}
	return b, nil
}

func (b *backup) failed(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("wal: back up to %s: %w", b.path, err)
}

// newest is the last segment copied, 0 for none.
func (b *backup) newest() uint32 {
	if len(b.made) == 0 {
		return 0
	}
	return b.made[len(b.made)-1]
}

// copy copies size bytes of segment id, and syncs them.
func (b *backup) copy(ctx context.Context, id uint32, from vfs.File, size int64) error {
	to, err := b.dir.Create(segmentName(id))
	if err != nil {
		return b.failed(err)
	}
	b.made = append(b.made, id)
	err = b.contents(ctx, to, from, size)
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return b.failed(err)
	}
	b.bytes += size
	return nil
}

func (b *backup) contents(ctx context.Context, to, from vfs.File, size int64) error {
	unsynced := 0
	for at := int64(0); at < size; at += backupChunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		select {
		case <-b.stop: // Close waits for who reads a segment
			return ErrClosed
		default:
		}
		chunk := b.chunk[:min(size-at, backupChunk)]
		if n, err := from.ReadAt(chunk, at); n < len(chunk) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if zero(chunk) { // preallocated and never written: the copy need not take the space
			continue
		}
		if _, err := to.WriteAt(chunk, at); err != nil {
			return err
		}
		if unsynced += len(chunk); unsynced >= backupSync {
			unsynced = 0
			if err := to.Sync(); err != nil {
				return err
			}
		}
	}
	return to.Truncate(size)
}

func zero(data []byte) bool {
	for _, b := range data {
		if b != 0 {
			return false
		}
	}
	return true
}

// forget removes what was copied.
func (b *backup) forget() error {
	for len(b.made) > 0 {
		if err := b.dir.Remove(segmentName(b.newest())); err != nil {
			return b.failed(err)
		}
		b.made = b.made[:len(b.made)-1]
	}
	b.bytes = 0
	return nil
}

// finish makes a log of the copy.
func (b *backup) finish() (BackedUp, error) {
	err := b.dir.Sync() // before the mark goes: what it stands before must be there
	if err == nil {
		err = b.dir.Remove(unfinishedName)
	}
	if err != nil {
		return BackedUp{}, errors.Join(b.failed(err), b.undo())
	}
	// If this fails the copy is whole all the same, and nothing of it may go while no mark says so.
	if err := b.dir.Sync(); err != nil {
		return BackedUp{}, b.failed(err)
	}
	return BackedUp{Segments: len(b.made), Bytes: b.bytes}, nil
}

// undo leaves the directory as it was found. Where that fails the mark stays, too.
func (b *backup) undo() error {
	err := b.forget()
	if err == nil {
		err = b.dir.Sync()
	}
	if err == nil {
		err = b.dir.Remove(unfinishedName)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("what was copied could not be removed: %w", err)
	}
	return nil
}

// checkFinished returns ErrUnfinished when a backup or a repair in d never came to its end.
func checkFinished(d vfs.Dir) error {
	names, err := d.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == unfinishedName || name == unrepairedName {
			return ErrUnfinished
		}
	}
	return nil
}
