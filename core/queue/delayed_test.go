package queue_test

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
)

// released collects what a Delayed lets go.
type released struct {
	graveyard
	fail error
	back func(queue.Held) bool
}

func (r *released) take(due []queue.Held) (back []queue.Held, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return nil, r.fail
	}
	for _, h := range due {
		if r.back != nil && r.back(h) {
			h.Due = time.Now().UnixMilli() + 1000
			back = append(back, h)
			continue
		}
		text := "log"
		if h.Message != nil {
			text = string(h.Message.Body)
		}
		r.list = append(r.list, text+":"+string(rune('a'+h.Pos.Seq)))
	}
	return back, nil
}

func in(d time.Duration) int64 { return time.Now().Add(d).UnixMilli() }

func TestDelayedComeInOrderOfTheirTimesAndThenOfTheLog(t *testing.T) {
	ticking(t, func(t *testing.T, c *queue.Clock) {
		r := &released{}
		d := queue.NewDelayed("d", c, r.take)
		first, second := in(time.Minute), in(time.Hour)
		for _, seq := range rand.Perm(10) {
			due := first
			if seq >= 5 {
				due = second
			}
			d.Put(queue.Held{Due: due, Pos: queue.Pos{Seq: uint64(seq + 1)}})
		}
		d.Put(queue.Held{Due: first, Message: &message.Message{Body: []byte("1")}})
		d.Put(queue.Held{Due: first, Message: &message.Message{Body: []byte("2")}})
		after(time.Minute - time.Millisecond)
		if got := r.bodies(); len(got) > 0 {
			t.Errorf("%q before their time", got)
		}
		after(time.Millisecond)
		want := []string{"log:b", "log:c", "log:d", "log:e", "log:f", "1:a", "2:a"}
		if got := r.bodies(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		after(time.Hour)
		if got := r.bodies(); !slices.Equal(got[7:], []string{"log:g", "log:h", "log:i", "log:j", "log:k"}) || d.Len() != 0 {
			t.Errorf("%q, and %d wait", got, d.Len())
		}
	})
}

func TestDelayedThatCannotLeaveAreTriedAgain(t *testing.T) {
	ticking(t, func(t *testing.T, c *queue.Clock) {
		r := &released{fail: errors.New("no disk")}
		d := queue.NewDelayed("d", c, r.take)
		for i := range 1000 {
			d.Put(queue.Held{Due: in(time.Second), Pos: queue.Pos{Seq: uint64(i + 1)}})
		}
		d.Put(queue.Held{Due: in(time.Second), Message: &message.Message{Body: []byte("m")}})
		after(10 * time.Second)
		if d.Len() != 1001 {
			t.Fatalf("%d wait", d.Len())
		}
		r.mu.Lock()
		r.fail = nil
		r.back = func(h queue.Held) bool { return h.Pos.Seq == 7 }
		r.mu.Unlock()
		after(2 * time.Second)
		if got := r.bodies(); len(got) != 1000 || d.Len() != 1 {
			t.Fatalf("%d left, %d wait", len(got), d.Len())
		}
		r.mu.Lock()
		r.back = nil
		r.mu.Unlock()
		after(2 * time.Second)
		if got := r.bodies(); len(got) != 1001 || d.Len() != 0 {
			t.Errorf("%d left, %d wait", len(got), d.Len())
		}
	})
}

// TestMillionDelayedCostTheirPositions bounds what a position costs, with what growing the list has left over.
func TestMillionDelayedCostTheirPositions(t *testing.T) {
	const n = 1_000_000
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	d := queue.NewDelayed("d", queue.NewClock(nil), nil)
	for i := range uint64(n) {
		d.Put(queue.Held{Due: int64(i * 7919 % n), Pos: queue.Pos{Seq: i + 1, Segment: 1, Offset: 1, Size: 1}})
	}
	each := float64(heap()-before) / n
	t.Logf("%.0f bytes for each of %d", each, d.Len())
	if each > 40 {
		t.Errorf("%.0f bytes for each", each)
	}
}
