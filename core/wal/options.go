package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"tridge/core/queue"
)

// Sync says when a receipt is redeemed.
type Sync uint8

const (
	// SyncAlways redeems a receipt after its bytes are synced. A crash of the machine loses nothing that was confirmed.
	SyncAlways Sync = iota
	// SyncInterval redeems a receipt after its bytes are written and syncs every Options.Interval. A crash of the
	// process loses nothing; a crash of the machine loses up to an interval.
	SyncInterval
	// SyncNever redeems a receipt after its bytes are written and syncs only where the format requires it: at the end
	// of a segment, before one is removed and in Close. A crash of the machine loses what the system had not written.
	SyncNever
)

const (
	defaultSegmentSize = 64 << 20
	defaultMaxPending  = 16 << 20
	defaultMaxRecord   = 512 << 20
	defaultInterval    = time.Second

	// maxBatch bounds a batch, and so the wait of the last message in it: a batch is one write and one sync. A larger one
	// does not make a sync worth more, and leaves the processor's cache before it is written.
	maxBatch = 2 << 20
	// lazySync is how long an acknowledgement nobody waits for may stay unsynced.
	lazySync = time.Second
	// spareSegments is how much dead weight, in segments, is never worth copying the living for.
	spareSegments = 4
)

// Options of a log. The zero value is ready to use.
type Options struct {
	SegmentSize int           // bytes of a segment file; a larger record gets a file of its own size. Default 64 MiB
	MaxPending  int           // bytes that may wait for the disk before Append blocks. Default 16 MiB
	MaxRecord   int           // bytes of the largest record. Default and most 512 MiB
	Sync        Sync          // Default SyncAlways
	Interval    time.Duration // of SyncInterval. Default 1 s
	Log         *slog.Logger  // Default slog.Default
	// Fatal is called once, from the log's own goroutine, when a write or a sync has failed: nothing more can be
	// promised, and only a restart finds out what the disk has. The default logs and exits the process. When it
	// returns, every receipt not yet redeemed fails with the error, and so does every later call.
	Fatal func(error)
	// DiskFull is called, one call at a time, with true when there is no space for the log's next segments and with
	// false when there is again. It must not call the log. Nothing is lost or confirmed meanwhile: what is appended
	// waits, and receipts with it, once the segments in reserve are used up.
	DiskFull func(full bool)

	spacePause time.Duration // a shorter one for tests
	shortRun   int           // see copyRuns; a test has smaller segments
	lastSeq    uint64        // a repaired log goes on with the numbers of the damaged one
}

func (o Options) withDefaults() Options {
	if o.SegmentSize <= 0 {
		o.SegmentSize = defaultSegmentSize
	}
	o.SegmentSize = min(max(o.SegmentSize, minSegmentSize), 1<<30)
	if o.MaxPending <= 0 {
		o.MaxPending = defaultMaxPending
	}
	if o.MaxRecord <= 0 || o.MaxRecord > defaultMaxRecord {
		o.MaxRecord = defaultMaxRecord
	}
	if o.Interval <= 0 {
		o.Interval = defaultInterval
	}
	if o.spacePause <= 0 {
		o.spacePause = spacePause
	}
	if o.shortRun == 0 {
		o.shortRun = defaultShortRun
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Fatal == nil {
		log := o.Log
		o.Fatal = func(err error) {
			log.Error("the log cannot be written; the process ends so that nothing unsafe is confirmed", "err", err)
			os.Exit(1)
		}
	}
	return o
}

var (
	// ErrClosed is the result of using a log after Close.
	ErrClosed = errors.New("wal: closed")
	// ErrFull says that Close gave up waiting for space: what had not been confirmed is not in the log.
	ErrFull = errors.New("wal: closed while the disk was full")
	// ErrTooLarge says that a record would be larger than Options.MaxRecord.
	ErrTooLarge error = tooLarge{}
	// ErrGone says that no message lives at a position: it was acknowledged by every queue, or never was there.
	ErrGone error = gone{}

	errFormat = errors.New("malformed record")
)

// gone is ErrGone: to a queue that holds such a position its message cannot be read.
type gone struct{}

func (gone) Error() string { return "wal: no such message" }

func (gone) Is(target error) bool { return target == queue.ErrUnreadable }

// tooLarge is ErrTooLarge: to whoever writes, a failure that is theirs and not the log's.
type tooLarge struct{}

func (tooLarge) Error() string { return "wal: record too large" }

func (tooLarge) Is(target error) bool { return target == queue.ErrTooLarge }

// CorruptionError says that bytes which were once synced are damaged. Nothing is repaired or dropped on its account.
type CorruptionError struct {
	Segment uint32
	Offset  uint32 // bytes from the start of the segment
	Err     error
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("wal: corruption in segment %s at offset %d: %v", segmentName(e.Segment), e.Offset, e.Err)
}

func (e *CorruptionError) Unwrap() error { return e.Err }

// Is makes a CorruptionError a queue.ErrUnreadable: reading again will not help.
func (e *CorruptionError) Is(target error) bool { return target == queue.ErrUnreadable }

// VersionError says that a segment was written by a newer gateway.
type VersionError struct {
	Segment uint32
	Version uint32
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("wal: segment %s has format version %d; this gateway reads up to %d: start the newer one",
		segmentName(e.Segment), e.Version, formatVersion)
}
