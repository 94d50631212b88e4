package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// trade is a publisher that appends, waits for the confirm and acknowledges what is older than its window, so that the
// log rolls, dies and is compacted all the time.
type trade struct {
	mu        sync.Mutex
	confirmed map[uint64]bool // confirmed, no acknowledgement appended
	appended  map[uint64]bool
	settled   map[uint64]bool // acknowledgement confirmed
}

func newTrade() *trade {
	return &trade{confirmed: map[uint64]bool{}, appended: map[uint64]bool{}, settled: map[uint64]bool{}}
}

// run trades until the log is closed or stop is.
func (w *trade) run(l *Log, random *rand.Rand, stop <-chan struct{}) error {
	safe := make(chan error, 1)
	sink := sinkFunc(func(_, _ uint64, err error) { safe <- err })
	wait := func(r confirm.Receipt, err error) error {
		if err != nil {
			return err
		}
		r.Redeem(confirm.Ticket{To: sink})
		return <-safe
	}
	var held []queue.Pos
	for number := 0; ; number++ {
		select {
		case <-stop:
			return nil
		default:
		}
		w.mu.Lock() // the position is not known before it is appended, and a backup may have it at once
		at, receipt, err := l.Append(body(fmt.Sprint(number, strings.Repeat("x", random.IntN(500)))), []uint32{1})
		w.appended[at.Seq] = true
		w.mu.Unlock()
		if err := wait(receipt, err); err != nil {
			return err
		}
		w.mu.Lock()
		w.confirmed[at.Seq] = true
		w.mu.Unlock()
		if held = append(held, at); len(held) < 20 {
			continue
		}
		i := random.IntN(len(held))
		if number%30 != 0 { // one in thirty stays, and has to be copied forward
			w.mu.Lock()
			delete(w.confirmed, held[i].Seq)
			w.mu.Unlock()
			if err := wait(l.Ack(1, held[i:i+1])); err != nil {
				return err
			}
			w.mu.Lock()
			w.settled[held[i].Seq] = true
			w.mu.Unlock()
		}
		held = append(held[:i], held[i+1:]...)
	}
}

// now returns what a backup that begins now must have and must not have.
func (w *trade) now() (must, mustNot map[uint64]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	must, mustNot = map[uint64]bool{}, map[uint64]bool{}
	for seq := range w.confirmed {
		must[seq] = true
	}
	for seq := range w.settled {
		mustNot[seq] = true
	}
	return must, mustNot
}

// check holds what a backup has against what was so before it began.
func (w *trade) check(f *found, must, mustNot map[uint64]bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for seq := range must {
		if _, ok := f.messages[seq]; !ok && w.confirmed[seq] {
			return fmt.Errorf("message %d was confirmed before the backup and is not in it", seq)
		}
	}
	for seq := range f.messages {
		if mustNot[seq] {
			return fmt.Errorf("message %d was settled before the backup and is in it", seq)
		}
		if !w.appended[seq] {
			return fmt.Errorf("message %d was never appended", seq)
		}
	}
	return nil
}

// loud are options under which a warning is a failure.
func loud() (Options, *bytes.Buffer) {
	warnings := new(bytes.Buffer)
	return Options{SegmentSize: minSegmentSize, Fatal: func(error) {},
		Log: slog.New(slog.NewTextHandler(warnings, &slog.HandlerOptions{Level: slog.LevelWarn}))}, warnings
}

// openBackup opens a copy, which must be sound to the last byte, and reads all of it.
func openBackup(m vfs.FS, dir string) (*found, error) {
	o, warnings := loud()
	f := newFound()
	l, err := Open(m, dir, o, f)
	if err != nil {
		return nil, err
	}
	for _, at := range f.messages {
		if _, err := l.Read(at); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	if err := l.Close(); err != nil {
		return nil, err
	}
	if warnings.Len() > 0 {
		return nil, errors.New(warnings.String())
	}
	return f, nil
}

func TestBackupUnderLoadHasEverythingConfirmedBeforeIt(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	w, stop := newTrade(), make(chan struct{})
	var traders sync.WaitGroup
	traders.Go(func() {
		if err := w.run(l, rand.New(rand.NewPCG(1, 1)), stop); err != nil {
			t.Error(err)
		}
	})
	for n := range 40 {
		must, mustNot := w.now()
		dir := fmt.Sprint("copy", n)
		done, err := l.Backup(context.Background(), m, dir)
		if err != nil {
			t.Fatal(err)
		}
		f, err := openBackup(m, dir)
		if err != nil {
			t.Fatalf("backup %d, %+v: %v", n, done, err)
		}
		if err := w.check(f, must, mustNot); err != nil {
			t.Fatalf("backup %d, %+v: %v", n, done, err)
		}
	}
	close(stop)
	traders.Wait()
	closeLog(t, l)
}

// TestBackupStartsOverWhenTheNextSegmentIsGone has everything die, but for one message, when a part has been copied.
func TestBackupStartsOverWhenTheNextSegmentIsGone(t *testing.T) {
	for copied := 1; copied < 4; copied++ {
		m := vfs.NewMemory()
		l, _ := open(t, m, testOptions(t))
		stays := appendTo(t, l, "stays", []uint32{1})
		var doomed []queue.Pos
		for range 30 {
			doomed = append(doomed, appendTo(t, l, strings.Repeat("x", 900), []uint32{1}))
		}
		if err := l.syncAll(); err != nil {
			t.Fatal(err)
		}
		b, err := newBackup(m, "copy")
		if err != nil {
			t.Fatal(err)
		}
		for range copied {
			s, size, _, err := l.pin(b.newest() + 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.copy(context.Background(), s.id, s.file, int64(size)); err != nil {
				t.Fatal(err)
			}
			l.unpin(s)
		}
		ack(t, l, 1, doomed...)
		eventually(t, "removal", func() bool {
			churn(t, l, 20)
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.segments[0].id > uint32(copied+1)
		})
		if err := l.copyTo(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		if _, err := b.finish(); err != nil {
			t.Fatal(err)
		}
		if names := segmentsIn(t, m, "copy"); len(names) == 0 || names[0] <= uint32(copied) {
			t.Errorf("copied %d: the backup has segments %v", copied, names)
		}
		f, err := openBackup(m, "copy")
		if err != nil {
			t.Fatalf("copied %d: %v", copied, err)
		}
		if _, ok := f.messages[stays.Seq]; !ok || len(f.messages) != 1 {
			t.Errorf("copied %d: messages %v", copied, f.order)
		}
		closeLog(t, l)
	}
}

func segmentsIn(t *testing.T, m *vfs.Memory, dir string) []uint32 {
	t.Helper()
	d, err := m.Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := segmentIDs(d)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// TestBackupHoldsASegmentOnlyWhileItIsCopied has the log want to remove what is just being copied.
func TestBackupHoldsASegmentOnlyWhileItIsCopied(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	var doomed []queue.Pos
	for range 30 {
		doomed = append(doomed, appendTo(t, l, strings.Repeat("x", 900), []uint32{1}))
	}
	fs := vfs.Inject(m, func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && op.Name == segmentName(1) {
			ack(t, l, 1, doomed...)
			return l.syncAll() // the compactor has been told by now, and must not take the file away
		}
		return nil
	})
	if _, err := l.Backup(context.Background(), fs, "copy"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "removal", func() bool {
		churn(t, l, 1)
		return segmentsIn(t, m, "log")[0] > 1
	})
	if _, err := openBackup(m, "copy"); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
}

func TestFailedBackupLeavesTheLogAndNoCopy(t *testing.T) {
	failures := 0
	for n := int64(1); ; n++ {
		m := vfs.NewMemory()
		l, _ := open(t, m, testOptions(t))
		for range 20 {
			appendTo(t, l, strings.Repeat("x", 500), []uint32{1})
		}
		at := appendTo(t, l, "stays", []uint32{1})
		_, err := l.Backup(context.Background(), failAt(m, n, syscall.ENOSPC), "copy")
		if err == nil {
			closeLog(t, l)
			break
		}
		if failures++; !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("operation %d: %v", n, err)
		}
		if f, err := openBackup(m, "copy"); err == nil && len(f.messages) > 0 && f.messages[at.Seq].Seq == 0 {
			t.Errorf("operation %d: half a backup was opened", n)
		} else if err != nil && !errors.Is(err, ErrUnfinished) {
			t.Errorf("operation %d: %v", n, err)
		}
		if _, err := l.Read(at); err != nil {
			t.Errorf("operation %d: the log: %v", n, err)
		}
		if _, err := l.Backup(context.Background(), m, "another"); err != nil {
			t.Errorf("operation %d: the next backup: %v", n, err)
		}
		closeLog(t, l)
	}
	if failures < 10 {
		t.Errorf("only %d operations failed", failures)
	}
}

func TestPowerLossDuringABackupLeavesNoHalfOfIt(t *testing.T) {
	for n := 1; ; n++ {
		m := vfs.NewMemory()
		l, _ := open(t, m, crashOptions())
		var want []uint64
		for range 12 {
			at, _, err := l.Append(body(strings.Repeat("x", 900)), []uint32{1})
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, at.Seq)
		}
		_, failed := l.Backup(context.Background(), powerCut(m, n, rand.New(rand.NewPCG(uint64(n), 0))), "copy")
		for seed := range uint64(8) {
			f, err := openBackup(m.Crash(seed), "copy")
			if err != nil {
				if !errors.Is(err, ErrUnfinished) {
					t.Fatalf("operation %d, seed %d: %v", n, seed, err)
				}
				continue
			}
			if got := len(f.messages); got != 0 && got != len(want) {
				t.Fatalf("operation %d, seed %d: %d of %d messages", n, seed, got, len(want))
			} else if got == 0 && failed == nil {
				t.Fatalf("operation %d, seed %d: a backup that was complete is empty", n, seed)
			}
		}
		_ = l.Close()
		if failed == nil {
			return
		}
	}
}

func TestBackupEndsWithItsContext(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	for range 20 {
		appendTo(t, l, strings.Repeat("x", 500), []uint32{1})
	}
	ctx, cancel := context.WithCancel(context.Background())
	var once atomic.Bool
	fs := vfs.Inject(m, func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && once.CompareAndSwap(false, true) {
			cancel()
		}
		return nil
	})
	if _, err := l.Backup(ctx, fs, "copy"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	d, err := m.Dir("copy")
	if err != nil {
		t.Fatal(err)
	}
	if names, err := d.List(); err != nil || len(names) > 0 {
		t.Errorf("it left %v, %v", names, err)
	}
	closeLog(t, l)
}

func TestBackupNeedsAnEmptyDirectory(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	if _, err := l.Backup(context.Background(), m, "log"); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("%v", err)
	}
	closeLog(t, l)
	if _, err := openBackup(m, "log"); err != nil {
		t.Errorf("the log after a backup onto itself: %v", err)
	}
}

func TestCopyOfAStoppedLogIsThatLog(t *testing.T) {
	for seed := range uint64(20) {
		m := busyLog(t, seed).Crash(seed)
		want, err := CopyStopped(context.Background(), m, "log", "copy")
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		openOne := func(dir string) *found {
			f := newFound()
			l, err := Open(m, dir, crashOptions(), f)
			if err != nil {
				t.Fatalf("seed %d, %s, %+v: %v", seed, dir, want, err)
			}
			closeLog(t, l)
			return f
		}
		if a, b := openOne("log"), openOne("copy"); fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("seed %d: the copy tells\n%v\nand the log\n%v", seed, b, a)
		}
	}
}

func TestSecondBackupLeavesTheMarkOfTheFirst(t *testing.T) {
	m, _ := written(t, quiet(t), 60)
	l, _ := open(t, m, testOptions(t))
	defer closeLog(t, l)
	other := vfs.NewMemory()
	entered, second := make(chan struct{}), make(chan error)
	begun := make(chan struct{})
	// The second finds the directory empty, then the first begins, then the second goes on.
	late := vfs.Inject(other, func(op vfs.Op) error {
		if op.Kind == vfs.OpCreate {
			close(entered)
			<-begun
		}
		return nil
	})
	go func() { _, err := l.Backup(context.Background(), late, "copy"); second <- err }()
	<-entered
	segments := 0
	first := vfs.Inject(other, func(op vfs.Op) error {
		if op.Kind != vfs.OpCreate || op.Name == unfinishedName {
			return nil
		}
		if segments++; segments == 2 {
			close(begun)
			if err := <-second; !errors.Is(err, fs.ErrExist) {
				t.Errorf("the second backup: %v", err)
			}
			if _, err := openBackup(other, "copy"); !errors.Is(err, ErrUnfinished) {
				t.Errorf("half a backup: %v", err)
			}
		}
		return nil
	})
	if _, err := l.Backup(context.Background(), first, "copy"); err != nil {
		t.Errorf("the first backup: %v", err)
	}
	if _, err := openBackup(other, "copy"); err != nil {
		t.Errorf("the first backup: %v", err)
	}
}

// Close waits for whoever reads a segment, so a backup must not read on.
func TestBackupEndsWithTheLog(t *testing.T) {
	o := testOptions(t)
	o.SegmentSize = 8 * backupChunk
	l, _ := open(t, vfs.NewMemory(), o)
	for range 3 {
		_, r, err := l.Append(body(strings.Repeat("x", backupChunk)), []uint32{1})
		if err != nil {
			t.Fatal(err)
		}
		wait(t, r)
	}
	closing, writes := make(chan error, 1), 0
	to := vfs.Inject(vfs.NewMemory(), func(op vfs.Op) error {
		if op.Kind != vfs.OpWrite {
			return nil
		}
		if writes++; writes == 1 {
			go func() { closing <- l.Close() }()
			<-l.stop
		}
		return nil
	})
	if _, err := l.Backup(context.Background(), to, "copy"); !errors.Is(err, ErrClosed) || writes != 1 {
		t.Errorf("backup: %v after %d writes, want 1", err, writes)
	}
	if err := <-closing; err != nil {
		t.Errorf("close: %v", err)
	}
}
