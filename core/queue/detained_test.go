package queue_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

// mortal puts a message that lives so long.
func mortal(t *testing.T, q *queue.Local, log *queuetest.Log, life time.Duration, body string) {
	t.Helper()
	m := durable(body)
	m.Time = time.Now().UnixMilli()
	m.Expires = m.Time + life.Milliseconds()
	at, _, err := log.Append(m, []uint32{q.ID()})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Put(m, at); err != nil {
		t.Fatal(err)
	}
}

func TestExpiredMessagesThatCannotLeaveHoldUpNobody(t *testing.T) {
	for _, selective := range []bool{false, true} {
		ticking(t, func(t *testing.T, c *queue.Clock) {
			log, g := queuetest.NewLog(), &graveyard{}
			var full atomic.Bool
			var attempts atomic.Int32
			var q *queue.Local
			q = newQueue(t, "q", 1, log, queue.Options{Clock: c, MaxPriority: 3, DeadLetter: func(ds []queue.Delivery, why queue.Reason) (confirm.Receipt, error) {
				attempts.Add(1)
				if full.Load() {
					q.TakeBack(ds) // as a router does
					return confirm.Receipt{}, nil
				}
				return g.bury(ds, why)
			}})
			for range 100 {
				mortal(t, q, log, time.Second, "old")
			}
			put(t, q, log, "a", "b")
			full.Store(true)
			o := queue.SubscribeOptions{}
			if selective {
				o.Match = func(*message.Message) bool { return true }
			}
			s, _ := subscribe(t, q, o)
			time.Sleep(time.Second) // not waiting for the clock: whoever is first finds out
			for attempt := range 3 {
				ds := take(t, s, 5)
				if got := bodies(ds); !slices.Equal(got, []string{"a", "b"}) {
					t.Fatalf("attempt %d: took %q", attempt, got)
				}
				settle(t, s, ds, queue.Requeue)
				after(100 * time.Millisecond)
			}
			if n := attempts.Load(); n > 2 {
				t.Errorf("%d attempts within a second", n)
			}
			full.Store(false)
			after(2 * time.Second)
			if n := len(g.bodies()); n != 100 {
				t.Errorf("%d dead letters", n)
			}
			if got := bodies(take(t, s, 5)); !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("took %q in the end", got)
			}
		})
	}
}

func TestNothingIsWrittenForTimeWhileTheClockIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var held atomic.Bool
		c := queue.NewClock(func(name string, err error) { t.Error(name, err) })
		c.HoldWhile(held.Load)
		done := make(chan struct{})
		ctx := t.Context()
		t.Cleanup(func() { <-done })
		go func() {
			defer close(done)
			c.Run(ctx)
		}()
		log, g, r := queuetest.NewLog(), &graveyard{}, &released{}
		letters := newQueue(t, "letters", 1, log, queue.Options{Clock: c, DeadLetter: g.bury})
		dropping := newQueue(t, "dropping", 2, log, queue.Options{Clock: c})
		delayed := queue.NewDelayed("d", c, r.take)
		held.Store(true)
		mortal(t, letters, log, time.Second, "m")
		mortal(t, dropping, log, time.Second, "m")
		put(t, letters, log, "live")
		delayed.Put(queue.Held{Due: in(time.Second), Pos: queue.Pos{Seq: 1}})
		s, _ := subscribe(t, letters, queue.SubscribeOptions{})
		after(time.Minute)
		if got := bodies(take(t, s, 5)); !slices.Equal(got, []string{"live"}) {
			t.Errorf("took %q", got)
		}
		if len(g.bodies()) != 0 || delayed.Len() != 1 {
			t.Errorf("dead letters %q; %d delayed", g.bodies(), delayed.Len())
		}
		if got := dropping.Stats(); got.Ready != 0 || got.Expired != 1 {
			t.Errorf("what nobody wants any more would make room: %+v", got)
		}
		held.Store(false)
		after(time.Second)
		if len(g.bodies()) != 1 || delayed.Len() != 0 {
			t.Errorf("a second later: dead letters %q; %d delayed", g.bodies(), delayed.Len())
		}
	})
}

func TestWhatComesBackOverTheLimitWaitsWhileTheClockIsHeld(t *testing.T) {
	var held atomic.Bool
	synctest.Test(t, func(t *testing.T) {
		c := queue.NewClock(func(name string, err error) { t.Error(name, err) })
		c.HoldWhile(held.Load)
		done := make(chan struct{})
		ctx := t.Context()
		t.Cleanup(func() { <-done })
		go func() {
			defer close(done)
			c.Run(ctx)
		}()
		log, g := queuetest.NewLog(), &graveyard{}
		q := newQueue(t, "q", 1, log, queue.Options{Clock: c, MaxLength: queue.AtMost(1), DeadLetter: g.bury})
		put(t, q, log, "a")
		s, _ := subscribe(t, q, queue.SubscribeOptions{})
		ds := take(t, s, 1)
		put(t, q, log, "b")
		held.Store(true)
		settle(t, s, ds, queue.Requeue)
		after(time.Minute)
		if got := g.bodies(); len(got) != 0 {
			t.Errorf("a consumer that gives back wrote dead letters %q", got)
		}
		held.Store(false)
		after(time.Second)
		if got := g.bodies(); !slices.Equal(got, []string{"a:maxlen"}) {
			t.Errorf("dead letters %q", got)
		}
	})
}

func TestDelayedMessageThatCannotLeaveHoldsUpNoOther(t *testing.T) {
	ticking(t, func(t *testing.T, c *queue.Clock) {
		r := &released{}
		var bad atomic.Bool
		bad.Store(true)
		d := queue.NewDelayed("d", c, func(due []queue.Held) ([]queue.Held, error) {
			if bad.Load() && slices.ContainsFunc(due, func(h queue.Held) bool { return h.Pos.Seq%10 == 3 }) {
				return nil, errors.New("not this one")
			}
			return r.take(due)
		})
		// The last three are a portion each.
		for seq := range uint64(30) {
			d.Put(queue.Held{Due: in(time.Second), Pos: queue.Pos{Seq: seq + 1, Size: uint32(seq/27) << 20}})
		}
		d.Put(queue.Held{Due: in(time.Second), Pos: queue.Pos{Seq: 33, Size: 1 << 20}})
		d.Put(queue.Held{Due: in(time.Second), Pos: queue.Pos{Seq: 34, Size: 1 << 20}})
		after(10 * time.Second)
		if n := len(r.bodies()); n != 28 || d.Len() != 4 {
			t.Errorf("%d have left, %d wait", n, d.Len())
		}
		bad.Store(false)
		after(2 * time.Second)
		if n := len(r.bodies()); n != 32 || d.Len() != 0 {
			t.Errorf("in the end %d have left, %d wait", n, d.Len())
		}
	})
}

// purgedLog calls a function in the first Ack.
type purgedLog struct {
	*queuetest.Log
	meanwhile func()
}

func (l *purgedLog) Ack(id uint32, ps []queue.Pos) (confirm.Receipt, error) {
	if f := l.meanwhile; f != nil {
		l.meanwhile = nil
		f()
	}
	return l.Log.Ack(id, ps)
}

func TestMessageThatComesDuringAPurgeExpiresOnTime(t *testing.T) {
	ticking(t, func(t *testing.T, c *queue.Clock) {
		l := &purgedLog{Log: queuetest.NewLog()}
		q := newQueue(t, "q", 1, l, queue.Options{Clock: c})
		put(t, q, l.Log, slices.Repeat([]string{"x"}, 16<<10+10)...) // more than a purge removes at once
		l.meanwhile = func() { mortal(t, q, l.Log, time.Second, "m") }
		if _, _, err := q.Purge(); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		if got := q.Stats(); got.Expired != 1 || got.Ready != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestSpentMessagesBecomeDeadLettersInOrder(t *testing.T) {
	log, g := queuetest.NewLog(), &graveyard{}
	q := newQueue(t, "q", 1, log, queue.Options{MaxAttempts: queue.AtMost(1), DeadLetter: g.bury})
	put(t, q, log, "a", "b", "c")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	for range 2 {
		settle(t, s, take(t, s, 3), queue.Requeue)
	}
	if got := strings.Join(g.bodies(), " "); got != "a:delivery_limit b:delivery_limit c:delivery_limit" {
		t.Errorf("dead letters %s", got)
	}
}
