package broker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"tridge/core/wal"
	"tridge/internal/vfs"
)

// Backup copies the data directory to dir, which must be empty or missing, while the broker is in use: the copy can be
// opened like the original and has everything that was safe before the call. An end of ctx ends it and leaves no copy.
func (b *Broker) Backup(ctx context.Context, dir string) (wal.BackedUp, error) {
	return backup(b.fs, dir, func(log string) (wal.BackedUp, error) { return b.log.Backup(ctx, b.fs, log) })
}

// BackupStopped is Backup of a data directory that nobody has open; else the error wraps ErrInUse.
func BackupStopped(ctx context.Context, fs vfs.FS, data, dir string) (done wal.BackedUp, err error) {
	unlock, err := lock(fs, data)
	if err != nil {
		return wal.BackedUp{}, err
	}
	defer func() { err = errors.Join(err, unlock.Close()) }()
	return backup(fs, dir, func(log string) (wal.BackedUp, error) {
		return wal.CopyStopped(ctx, fs, filepath.Join(data, logDirectory), log)
	})
}

// backup has the log copied to where it belongs in dir. There is nothing else to copy: all that is durable is in it.
func backup(fs vfs.FS, dir string, copyTo func(log string) (wal.BackedUp, error)) (wal.BackedUp, error) {
	d, err := fs.Dir(dir)
	if err != nil {
		return wal.BackedUp{}, fmt.Errorf("broker: back up to %s: %w", dir, err)
	}
	names, err := d.List()
	if err == nil && len(names) > 0 {
		err = errors.New("the directory is not empty")
	}
	if err != nil {
		return wal.BackedUp{}, fmt.Errorf("broker: back up to %s: %w", dir, err)
	}
	done, err := copyTo(filepath.Join(dir, logDirectory))
	if err != nil {
		_ = d.Remove(logDirectory) // it stays when something is left in it, and that says that the copy is not finished
	}
	return done, err
}
