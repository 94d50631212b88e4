package broker

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"

	"tridge/core/message"
	"tridge/core/session"
	"tridge/core/wal"
	"tridge/internal/vfs"
)

// TestFullDiskShutsTheGateUntilThereIsSpace, and Close ends whether there is or not.
func TestFullDiskShutsTheGateUntilThereIsSpace(t *testing.T) {
	for _, freed := range []bool{true, false} {
		var full atomic.Bool
		files := vfs.Inject(vfs.NewMemory(), func(op vfs.Op) error {
			if op.Kind == vfs.OpPreallocate && full.Load() {
				return syscall.ENOSPC
			}
			return nil
		})
		fatal := func(err error) { t.Errorf("the log failed: %v", err) }
		b, err := Open(Config{Dir: "data", FS: files, Slog: slog.New(slog.DiscardHandler), Log: wal.Options{SegmentSize: 4096, Fatal: fatal}})
		if err != nil {
			t.Fatal(err)
		}
		changed := make(chan session.Shortage, 2)
		b.Gate().Watch(&session.Watcher{}, func() { changed <- b.Gate().Shut() })
		full.Store(true)
		for range 50 {
			if _, _, err := b.log.Append(&message.Message{Body: make([]byte, 500)}, []uint32{1}); err != nil {
				t.Fatal(err)
			}
		}
		if s := <-changed; s != session.Disk {
			t.Errorf("shut for %q, want disk", s)
		}
		if a := b.Alarms(); len(a) != 1 || !a[0].DiskFull {
			t.Errorf("alarms %+v", a)
		}
		want := wal.ErrFull
		if freed {
			full.Store(false)
			if s := <-changed; s != 0 {
				t.Errorf("shut for %q with space again", s)
			}
			want = nil
		}
		if err := b.Close(); !errors.Is(err, want) {
			t.Errorf("close: %v, want %v", err, want)
		}
	}
}
