package wal

import (
	"errors"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// Reader is a log that nobody has open, as the next start would find it. Nothing in its directory changes.
type Reader struct{ log *Log }

// OpenReader locks the log in dir, which must exist, and tells to what Open would tell: errors and the warning about a
// torn tail, which stays where it is, are the same. Only the Log of o is used.
func OpenReader(fs vfs.FS, dir string, o Options, to queue.Recovery) (*Reader, error) {
	d, _, lock, err := lockStopped(fs, dir)
	if err != nil {
		return nil, err
	}
	l := newLog(o, frozenDir{d})
	l.lock = lock
	reader := &Reader{l}
	r := recovery{log: l}
	if _, err := r.run(); err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	if err := r.tell(to); err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	return reader, nil
}

// Read is Log.Read of a position that OpenReader has told of.
func (r *Reader) Read(p queue.Pos) (*message.Message, error) { return r.log.Read(p) }

// Close gives the directory back.
func (r *Reader) Close() error {
	var err error
	for _, s := range r.log.segments {
		if s.file != nil {
			err = errors.Join(err, s.file.Close())
		}
	}
	return errors.Join(err, r.log.lock.Close())
}

// frozenDir lets recovery believe that it has cut a torn tail and removed leftovers. It never looks at what it has
// changed, so nothing needs to be kept of that.
type frozenDir struct{ vfs.Dir }

func (frozenDir) Remove(string) error         { return nil }
func (frozenDir) Rename(string, string) error { return errFrozen }
func (frozenDir) Sync() error                 { return nil }

func (frozenDir) Create(string) (vfs.File, error) { return nil, errFrozen }

func (d frozenDir) Open(name string) (vfs.File, error) {
	f, err := d.Dir.Open(name)
	if err != nil {
		return nil, err
	}
	return frozenFile{f}, nil
}

type frozenFile struct{ vfs.File }

func (frozenFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (frozenFile) Truncate(int64) error                   { return nil }
func (frozenFile) Preallocate(int64) error                { return errFrozen }
func (frozenFile) Sync() error                            { return nil }

// errFrozen is the result of what recovery never does.
var errFrozen = errors.New("the directory is only read")
