package session

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestGateTellsWatchersOfEveryChange(t *testing.T) {
	var g Gate
	var w Watcher
	var calls atomic.Int32
	g.Watch(&w, func() { calls.Add(1) })
	g.Watch(&w, func() { t.Error("a second watch took the place of the first") })
	for i, step := range []struct {
		of    Shortage
		shut  bool
		now   Shortage
		calls int32
	}{
		{Memory, true, Memory, 1}, {Memory, true, Memory, 1}, {Disk, true, Memory | Disk, 2}, {Memory, false, Disk, 3},
		{Disk, false, 0, 4}, {Disk, false, 0, 4},
	} {
		g.Set(step.of, step.shut)
		if g.Shut() != step.now || calls.Load() != step.calls {
			t.Errorf("step %d: shut for %q after %d calls, want %q after %d", i, g.Shut(), calls.Load(), step.now, step.calls)
		}
	}
	g.Unwatch(&w)
	g.Set(Disk, true)
	if calls.Load() != 4 {
		t.Error("told after Unwatch")
	}
	if (*Gate)(nil).Shut() != 0 {
		t.Error("no gate is shut")
	}
}

func TestGateMayBeUsedByMany(t *testing.T) {
	var g Gate
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				var w Watcher
				g.Watch(&w, func() { g.Shut() })
				g.Set(Memory, true)
				g.Set(Memory, false)
				g.Unwatch(&w)
			}
		})
	}
	all.Wait()
	if g.Shut() != 0 {
		t.Error("shut")
	}
}

func TestParkHasRoomForOneOfAnySizeAndBoundsTheRest(t *testing.T) {
	var p Park[int]
	if !p.Room(100 << 20) {
		t.Error("no room for the first")
	}
	p.Add(1, 100<<20)
	if p.Room(0) {
		t.Error("room beside a large one")
	}
	p.Next()
	n := 0
	for p.Room(0) {
		p.Add(n, 0)
		n++
	}
	if n != parkedBytes/parkedOverhead {
		t.Errorf("%d empty ones fit, want %d", n, parkedBytes/parkedOverhead)
	}
	for i := range n / 2 {
		if v, ok := p.Next(); !ok || v != i {
			t.Fatalf("got %d, want %d", v, i)
		}
	}
	if dropped := p.Drop(); dropped != n-n/2 || p.Len() != 0 {
		t.Errorf("%d dropped, %d left", dropped, p.Len())
	}
}

// inlet is one end of a connection with a gate that is shut.
func inlet(t *testing.T, release func() error) (*Inlet, *Gate, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	g := &Gate{}
	g.Set(Disk, true)
	in := &Inlet{}
	in.Init(near, NewOutbox(near), g, release)
	if in.Shut() != Disk {
		t.Fatal("not shut")
	}
	return in, g, far
}

func TestReaderReleasesWhatIsParkedWhenTheGateOpens(t *testing.T) {
	released := make(chan struct{}, 10)
	in, g, far := inlet(t, func() error { released <- struct{}{}; return nil })
	got := make(chan string)
	go func() {
		b := make([]byte, 10)
		n, err := in.Read(b)
		got <- string(b[:n])
		if err != nil {
			t.Error(err)
		}
	}()
	g.Set(Disk, false)
	<-released // while it waits for the peer
	if _, err := io.WriteString(far, "more"); err != nil {
		t.Fatal(err)
	}
	if text := <-got; text != "more" {
		t.Errorf("read %q, want what came after", text)
	}
	if len(released) != 0 {
		t.Error("released twice")
	}
}

func TestErrorOfAReleaseEndsTheRead(t *testing.T) {
	broken := errors.New("broken")
	in, g, _ := inlet(t, func() error { return broken })
	g.Set(Disk, false)
	if _, err := in.Read(make([]byte, 1)); !errors.Is(err, broken) {
		t.Errorf("read: %v", err)
	}
}

func TestInterruptOutlivesTheGate(t *testing.T) {
	in, g, _ := inlet(t, nil)
	waited := make(chan error)
	go func() { waited <- in.WaitOpen() }()
	in.Interrupt()
	if err := <-waited; !errors.Is(err, ErrInterrupted) {
		t.Errorf("wait: %v", err)
	}
	g.Set(Disk, false)
	if err := in.Within(0); err != nil {
		t.Error(err)
	}
	if _, err := in.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v, want a deadline", err)
	}
}

func TestHandshakeDeadlineOutlivesTheGate(t *testing.T) {
	in, g, _ := inlet(t, nil)
	if err := in.Within(10 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	g.Set(Disk, false)
	if _, err := in.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v, want a deadline", err)
	}
}

func TestReaderWaitsForTheGateAndNotForAPeerThatIsGone(t *testing.T) {
	in, g, _ := inlet(t, nil)
	waited := make(chan error)
	go func() { waited <- in.WaitOpen() }()
	g.Set(Memory, true)
	g.Set(Disk, false)
	select {
	case err := <-waited:
		t.Fatalf("the wait ended with a shortage left: %v", err)
	default:
	}
	g.Set(Memory, false)
	if err := <-waited; err != nil {
		t.Errorf("wait: %v", err)
	}
	g.Set(Memory, true)
	go func() { waited <- in.WaitOpen() }()
	in.out.fail(io.ErrClosedPipe)
	if err := <-waited; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("wait: %v, want what ended the outbox", err)
	}
}
