package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"tridge/core/wal"
	"tridge/internal/vfs"
)

// shape is one case.
type shape struct{ size, window, publishers int }

func (s shape) String() string {
	return fmt.Sprintf("%dB/window-%d/publishers-%d", s.size, s.window, s.publishers)
}

const (
	warmUp        = 100 * time.Millisecond
	baseline      = 100 * time.Millisecond
	segmentSize   = 64 << 20
	leastMeasured = 10 // batches in a slice that says anything
)

// measure is one round: a slice of the log, one of the machine's limit at the batch the log had, and one of the
// publishers without a log.
func (s shape) measure(directory string, d time.Duration) (figures, error) {
	f, err := s.measureLog(filepath.Join(directory, "log"), d)
	if err != nil {
		return f, err
	}
	loops, err := limit(filepath.Join(directory, "limit"), int(f.bytes), d)
	if err != nil {
		return f, err
	}
	f.limit = loops * f.batch
	f.share = f.rate / f.limit
	free, err := s.publish(func() appender { return &nothing{window: uint64(s.window)} }, baseline, func() {})
	if err != nil {
		return f, err
	}
	f.cpu -= free.cpu
	return f, nil
}

func (s shape) measureLog(directory string, d time.Duration) (f figures, err error) {
	defer os.RemoveAll(directory)
	log, err := wal.Open(vfs.OS{}, directory, wal.Options{SegmentSize: segmentSize, Log: slog.New(slog.DiscardHandler)}, empty{})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	var before, after wal.Stats
	f, err = s.publish(func() appender { return log }, d, func() { before, after = after, log.Stats() })
	if err != nil {
		return f, err
	}
	syncs := after.Syncs - before.Syncs
	if syncs < leastMeasured {
		return f, fmt.Errorf("only %d batches in %v: give it more time", syncs, d)
	}
	f.batch = float64(after.Records-before.Records) / float64(syncs)
	f.bytes = float64(after.WrittenBytes-before.WrittenBytes) / float64(syncs)
	return f, nil
}

// publish runs the publishers and measures for d after a warm-up. at is called when measuring begins and when it ends.
func (s shape) publish(log func() appender, d time.Duration, at func()) (f figures, err error) {
	publishers := make([]*publisher, s.publishers)
	failed := make([]error, s.publishers)
	var all sync.WaitGroup
	for i := range publishers {
		p := newPublisher(log(), s, i)
		publishers[i] = p
		all.Go(func() { failed[i] = p.publish() })
	}
	time.Sleep(warmUp)
	from := make([]reading, s.publishers)
	for i, p := range publishers {
		from[i] = p.read()
	}
	at()
	begun, used := time.Now(), processCPU()
	time.Sleep(d)
	elapsed, spent := time.Since(begun), processCPU()-used
	at()
	messages := uint64(0)
	var took []time.Duration
	for i, p := range publishers {
		to := p.read()
		messages += to.confirmed - from[i].confirmed
		took = append(took, p.took[from[i].timed:to.timed]...)
	}
	for _, p := range publishers {
		p.stop()
	}
	all.Wait()
	if messages == 0 || len(took) == 0 {
		return f, errors.Join(append(failed, errors.New("nothing was confirmed"))...)
	}
	slices.Sort(took)
	return figures{
		rate: float64(messages) / elapsed.Seconds(),
		cpu:  spent.Seconds() / float64(messages),
		p50:  took[len(took)/2],
		p99:  took[len(took)*99/100],
	}, errors.Join(failed...)
}

// limit appends size bytes and syncs them, again and again, and returns how often a second. Making the files is not
// timed: the log has its segments made ahead.
func limit(directory string, size int, d time.Duration) (perSecond float64, err error) {
	defer os.RemoveAll(directory)
	dir, err := vfs.OS{}.Dir(directory)
	if err != nil {
		return 0, err
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 7)
	}
	length := max(segmentSize, size)
	loops, spent := 0, time.Duration(0)
	for n := 0; spent < d; n++ {
		f, err := preallocated(dir, fmt.Sprint(n), length)
		if err != nil {
			return 0, err
		}
		begun := time.Now()
		for at := 0; at+size <= length && spent+time.Since(begun) < d; at += size {
			if _, err := f.WriteAt(data, int64(at)); err != nil {
				return 0, errors.Join(err, f.Close())
			}
			if err := f.Sync(); err != nil {
				return 0, errors.Join(err, f.Close())
			}
			loops++
		}
		spent += time.Since(begun)
		if err := f.Close(); err != nil {
			return 0, err
		}
	}
	return float64(loops) / spent.Seconds(), nil
}

func preallocated(dir vfs.Dir, name string, length int) (vfs.File, error) {
	f, err := dir.Create(name)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Preallocate(int64(length)), f.Sync(), dir.Sync()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// processCPU is the user and system time of this process.
func processCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // it has no way to fail
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
