package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

// ticking runs a test in virtual time with a clock.
func ticking(t *testing.T, run func(t *testing.T, c *queue.Clock)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		clock := queue.NewClock(func(string, error) {})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			clock.Run(ctx)
		}()
		run(t, clock)
		cancel()
		<-done
	})
}

func after(d time.Duration) {
	time.Sleep(d) // virtual
	synctest.Wait()
}

// graveyard collects dead letters.
type graveyard struct {
	mu   sync.Mutex
	list []string
}

func (g *graveyard) bodies() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.list)
}

func (g *graveyard) bury(ds []queue.Delivery, why queue.Reason) (confirm.Receipt, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range ds {
		g.list = append(g.list, string(d.Message.Body)+":"+why.String())
	}
	return confirm.Receipt{}, nil
}

func putFor(t *testing.T, q *queue.Local, log *queuetest.Log, body string, own time.Duration) {
	t.Helper()
	m := durable(body)
	m.Time = time.Now().UnixMilli()
	if own > 0 {
		m.Expires = m.Time + own.Milliseconds()
	}
	at, _, err := log.Append(m, []uint32{q.ID()})
	if err == nil {
		err = q.Put(m, at)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestHeadsExpireWithoutAConsumer(t *testing.T) {
	ticking(t, func(t *testing.T, clock *queue.Clock) {
		log, dead := queuetest.NewLog(), &graveyard{}
		q := newQueue(t, "q", 1, log, queue.Options{Clock: clock, HasTTL: true, TTL: 10_000, DeadLetter: dead.bury})
		putFor(t, q, log, "long", time.Hour)
		putFor(t, q, log, "short", 3*time.Second)
		after(9999 * time.Millisecond)
		if len(dead.bodies()) != 0 {
			t.Fatalf("%q expired early: the middle waits for the head", dead.bodies())
		}
		after(time.Millisecond)
		if want := []string{"long:expired", "short:expired"}; !slices.Equal(dead.bodies(), want) {
			t.Errorf("dead letters %q, want %q", dead.bodies(), want)
		}
		putFor(t, q, log, "soon", 3*time.Second)
		after(3 * time.Second)
		if got := q.Stats(); got.Ready != 0 || got.Expired != 3 || got.Unacked != 0 {
			t.Errorf("the message's own time is shorter: %+v", got)
		}
	})
}

func TestNextHeadExpiresWhenTheFirstIsTaken(t *testing.T) {
	ticking(t, func(t *testing.T, clock *queue.Clock) {
		log := queuetest.NewLog()
		q := newQueue(t, "q", 1, log, queue.Options{Clock: clock})
		putFor(t, q, log, "for ever", 0)
		putFor(t, q, log, "mortal", time.Second)
		after(time.Minute)
		if got := q.Stats(); got.Ready != 2 {
			t.Fatalf("%+v", got)
		}
		s, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true})
		ds := take(t, s, 1)
		after(0)
		if got := q.Stats(); got.Ready != 0 || got.Expired != 1 {
			t.Errorf("%+v", got)
		}
		putFor(t, q, log, "later", time.Second)
		settle(t, s, ds, queue.Requeue)
		after(time.Minute)
		if got := q.Stats(); got.Ready != 2 {
			t.Errorf("expired behind a head that does not: %+v", got)
		}
	})
}

// undated is a recovery of a log that does not know when messages came.
type undated struct{ restoring }

func (u undated) Message(at queue.Pos, i queue.Info, queues []uint32) error {
	i.Time = 0
	return u.restoring.Message(at, i, queues)
}

func TestTimeToLiveOfAQueueGoesOnAcrossARestart(t *testing.T) {
	t.Run("by the index", func(t *testing.T) { goesOn(t, func(q *queue.Local) queue.Recovery { return restoring{q} }) })
	t.Run("by the messages", func(t *testing.T) { goesOn(t, func(q *queue.Local) queue.Recovery { return undated{restoring{q}} }) })
}

func goesOn(t *testing.T, into func(*queue.Local) queue.Recovery) {
	ticking(t, func(t *testing.T, clock *queue.Clock) {
		log := queuetest.NewLog()
		o := queue.Options{HasTTL: true, TTL: 10_000}
		q := newQueue(t, "q", 1, log, o)
		putFor(t, q, log, "a", 0)
		after(4 * time.Second)
		putFor(t, q, log, "b", 0)
		putFor(t, q, log, "c", time.Second)
		putFor(t, q, log, "d", 0)
		after(3 * time.Second)

		o.Clock = clock
		restarted := newQueue(t, "q", 1, log, o)
		if err := log.Replay(into(restarted)); err != nil {
			t.Fatal(err)
		}
		after(2 * time.Second)
		if got := restarted.Stats(); got.Ready != 4 {
			t.Fatalf("expired early: %+v", got)
		}
		after(time.Second)
		if got := restarted.Stats(); got.Ready != 3 || got.Expired != 1 {
			t.Fatalf("%+v", got)
		}
		s, _ := subscribe(t, restarted, queue.SubscribeOptions{})
		expect(t, take(t, s, 1), "b")
		expect(t, take(t, s, 3), "d")
		after(0) // it may be the clock that has taken "c" out: let it tell the log

		lazy := newQueue(t, "q", 1, log, queue.Options{HasTTL: true, TTL: 1})
		if err := log.Replay(into(lazy)); err != nil {
			t.Fatal(err)
		}
		s, _ = subscribe(t, lazy, queue.SubscribeOptions{})
		expect(t, take(t, s, 10))
		if got := lazy.Stats(); got.Ready != 0 || got.Unacked != 0 || got.Delivered != 0 || got.Expired != 2 {
			t.Errorf("without a clock: %+v", got)
		}
	})
}

func TestOneClockServesManyQueues(t *testing.T) {
	ticking(t, func(t *testing.T, clock *queue.Clock) {
		log := queuetest.NewLog()
		var queues []*queue.Local
		for i := range 1000 {
			q := newQueue(t, fmt.Sprint(i), uint32(i+1), log, queue.Options{Clock: clock})
			putFor(t, q, log, "m", time.Duration(1+i*7919%1000)*time.Millisecond)
			queues = append(queues, q)
		}
		after(500 * time.Millisecond)
		if got := log.Living(); got != 500 {
			t.Errorf("%d messages after half the time", got)
		}
		for _, q := range queues[:100] {
			if _, err := q.Close(queue.Condition{}); err != nil {
				t.Fatal(err)
			}
		}
		after(500 * time.Millisecond)
		for _, q := range queues[100:] {
			if got := q.Stats(); got.Ready != 0 || got.Expired != 1 {
				t.Fatalf("queue %s: %+v", q.Name(), got)
			}
		}
	})
}

func TestExpiredMessageThatCannotLeaveIsTriedAgain(t *testing.T) {
	ticking(t, func(t *testing.T, clock *queue.Clock) {
		log := queuetest.NewLog()
		var tries atomic.Int32
		q := newQueue(t, "q", 1, log, queue.Options{Clock: clock, DeadLetter: func([]queue.Delivery, queue.Reason) (confirm.Receipt, error) {
			if tries.Add(1) < 3 {
				return confirm.Receipt{}, errors.New("no")
			}
			return confirm.Receipt{}, nil
		}})
		putFor(t, q, log, "a", time.Second)
		after(time.Second)
		if got := q.Stats(); tries.Load() != 1 || got.Ready != 1 {
			t.Fatalf("%d tries, %+v", tries.Load(), got)
		}
		after(2 * time.Second)
		if got := q.Stats(); tries.Load() != 3 || got.Ready != 0 || got.Unacked != 0 {
			t.Errorf("%d tries, %+v", tries.Load(), got)
		}
	})
}

func TestTimeToLiveZeroOfAQueueIsForWhoIsThere(t *testing.T) {
	ticking(t, func(t *testing.T, clock *queue.Clock) {
		log := queuetest.NewLog()
		q := newQueue(t, "q", 1, log, queue.Options{Clock: clock, HasTTL: true})
		putFor(t, q, log, "nobody", 0)
		after(0)
		if got := q.Stats(); got.Ready != 0 || got.Expired != 1 {
			t.Fatalf("%+v", got)
		}
		s, _ := subscribe(t, q, queue.SubscribeOptions{})
		putFor(t, q, log, "somebody", 0)
		after(time.Minute)
		expect(t, take(t, s, 1), "somebody")
		putFor(t, q, log, "left", 0)
		s.Close()
		after(0)
		if got := q.Stats(); got.Ready != 0 {
			t.Errorf("nobody is hungry any more: %+v", got)
		}
	})
}

func TestUnusedQueueEnds(t *testing.T) {
	ticking(t, func(t *testing.T, clock *queue.Clock) {
		var ended atomic.Int32
		var made atomic.Pointer[queue.Local]
		q := newQueue(t, "q", 0, nil, queue.Options{Clock: clock, Expires: 10_000, Unused: func() {
			if _, err := made.Load().Close(queue.Condition{IfUnused: true, IfExpired: true}); err == nil {
				ended.Add(1)
			}
		}})
		made.Store(q)
		after(9 * time.Second)
		q.Renew()
		after(9 * time.Second)
		if _, err := q.Subscribe(nil, queue.SubscribeOptions{Poll: true}); err != nil {
			t.Fatal(err)
		}
		after(9 * time.Second)
		s, _ := subscribe(t, q, queue.SubscribeOptions{})
		after(time.Minute)
		if err := q.Put(&message.Message{}, queue.Pos{}); err != nil {
			t.Fatal("ended while it was used")
		}
		s.Close()
		after(9999 * time.Millisecond)
		if ended.Load() != 0 {
			t.Fatal("ended early")
		}
		after(time.Millisecond)
		if ended.Load() != 1 || q.Put(&message.Message{}, queue.Pos{}) != queue.ErrClosed {
			t.Errorf("ended %d times", ended.Load())
		}
	})
}

// TestFarDeadlineDoesNotKeepTheClockBusy would not come to rest if the clock took the distance for a time that is past.
func TestFarDeadlineDoesNotKeepTheClockBusy(t *testing.T) {
	ticking(t, func(t *testing.T, clock *queue.Clock) {
		q := newQueue(t, "q", 0, nil, queue.Options{Clock: clock})
		for _, expires := range []int64{math.MaxInt64, 9e18, 1 << 44} {
			if err := q.Put(&message.Message{Time: time.Now().UnixMilli(), Expires: expires}, queue.Pos{}); err != nil {
				t.Fatal(err)
			}
		}
		after(time.Minute)
		if got := q.Stats(); got.Ready != 3 {
			t.Errorf("stats %+v", got)
		}
	})
}
