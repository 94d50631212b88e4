package wal

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"tridge/core/queue"
	"tridge/internal/vfs"
)

// ailing is a file system whose reads fail while bad says so.
func ailing(m vfs.FS, bad func(name string) bool) vfs.FS {
	return vfs.Inject(m, func(op vfs.Op) error {
		if op.Kind == vfs.OpRead && bad(op.Name) {
			return syscall.EIO
		}
		return nil
	})
}

func TestRecordInABadSectorIsGivenUpAfterSeveralReads(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	appendTo(t, l, strings.Repeat("w", 1000), []uint32{1})
	p := appendTo(t, l, strings.Repeat("x", 1000), []uint32{1})
	good := appendTo(t, l, "y", []uint32{1})
	closeLog(t, l)
	l, f := open(t, unreadable{m, segmentName(p.Segment), int64(p.Offset)}, testOptions(t))
	defer closeLog(t, l)
	for n := range unreadTimes {
		_, err := l.Read(f.messages[p.Seq])
		if given := errors.Is(err, queue.ErrUnreadable); err == nil || given != (n == unreadTimes-1) {
			t.Errorf("read %d: %v", n+1, err)
		}
		if _, err := l.Read(f.messages[good.Seq]); err != nil {
			t.Errorf("its neighbour: %v", err)
		}
	}
}

func TestReadThatSucceedsAgainIsNotCounted(t *testing.T) {
	var u unreadRecords
	for range 10 {
		for range unreadTimes - 1 {
			if u.note(7, true) {
				t.Fatal("given up too early")
			}
		}
		u.note(7, false)
	}
	for seq := range uint64(10 * maxUnread) {
		u.note(seq, true)
	}
	if len(u) > maxUnread {
		t.Errorf("%d records are watched, want no more than %d", len(u), maxUnread)
	}
}

// A disk that reads nothing at all says nothing about a message.
func TestDeadDiskGivesUpNoMessage(t *testing.T) {
	var dead atomic.Bool
	m := vfs.NewMemory()
	l, err := Open(ailing(m, func(string) bool { return dead.Load() }), "log", quiet(t), newFound())
	if err != nil {
		t.Fatal(err)
	}
	p, r, err := l.Append(body("x"), []uint32{1})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, r)
	dead.Store(true)
	for range 5 * unreadTimes {
		if _, err := l.Read(p); err == nil || errors.Is(err, queue.ErrUnreadable) {
			t.Fatalf("read: %v", err)
		}
	}
	dead.Store(false)
	if m, err := l.Read(p); err != nil || string(m.Body) != "x" {
		t.Errorf("read: %v, %v", m, err)
	}
	closeLog(t, l)
}
