package broker

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
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

// TestTimeWritesNothingWhileTheDiskIsShort: what is delayed is not released and what expires makes no dead letters, which
// would take the space that acknowledgements need. What expires and is only dropped goes.
func TestTimeWritesNothingWhileTheDiskIsShort(t *testing.T) {
	files := vfs.NewMemory()
	files.SetFree(1 << 20)
	b, err := Open(Config{Dir: "data", FS: files, Slog: slog.New(slog.DiscardHandler), DiskFree: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if s := b.Gate().Shut(); s != session.Disk {
		t.Fatalf("shut for %q, want disk", s)
	}
	v, _ := b.VHost(DefaultVHost)
	for _, spec := range []router.QueueSpec{
		{Name: "letters", Durable: true, HasTTL: true, TTL: 1, DeadLetter: true, DeadLetterKey: "dead"},
		{Name: "dead", Durable: true}, {Name: "later", Durable: true}, {Name: "plain", Durable: true, HasTTL: true, TTL: 20},
	} {
		if _, _, err := v.Router.DeclareQueue(spec, 0); err != nil {
			t.Fatal(err)
		}
	}
	p := v.Router.NewPublisher(v.Router.NewOrigin())
	publish := func(key string, delay int64) {
		m := &message.Message{Key: key, Body: []byte("m"), Guarantee: message.AtLeastOnce, Time: time.Now().UnixMilli()}
		if _, _, err := p.PublishAfter(delay, m); err != nil {
			t.Fatal(err)
		}
	}
	stats := func(name string) queue.Stats {
		q, err := v.Router.Queue(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		return q.Stats()
	}
	publish("later", 1)
	publish("letters", 0)
	publish("plain", 0) // due last: when it has gone the clock has been at the others
	for deadline := time.Now().Add(10 * time.Second); stats("plain").Expired == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the clock does not run")
		}
	}
	if later, dead, letters := stats("later"), stats("dead"), stats("letters"); later.Ready != 0 || dead.Ready != 0 || letters.Ready != 1 {
		t.Errorf("released %d, dead letters %d, %d where it expired", later.Ready, dead.Ready, letters.Ready)
	}
}
