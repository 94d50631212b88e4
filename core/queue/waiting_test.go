package queue_test

import (
	"errors"
	"fmt"
	"testing"

	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

func TestEmptyTakeIsWokenOnce(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	s, w := subscribe(t, q, queue.SubscribeOptions{})
	expect(t, take(t, s, 5))
	put(t, q, log, "a", "b")
	if w.wakes != 1 {
		t.Fatalf("%d wakes for one empty take", w.wakes)
	}
	expect(t, take(t, s, 5), "a", "b")
}

func TestWakePassesOnWhenDeclined(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	first, w1 := subscribe(t, q, queue.SubscribeOptions{})
	second, w2 := subscribe(t, q, queue.SubscribeOptions{})
	expect(t, take(t, first, 1))
	expect(t, take(t, second, 1))
	put(t, q, log, "a")
	if w1.wakes != 1 || w2.wakes != 0 {
		t.Fatalf("wakes %d, %d", w1.wakes, w2.wakes)
	}
	expect(t, take(t, first, 0))
	if w2.wakes != 1 {
		t.Fatal("declining woke nobody: the message is stuck")
	}
	expect(t, take(t, second, 1), "a")
}

func TestClosePassesOnItsWake(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	first, _ := subscribe(t, q, queue.SubscribeOptions{})
	_, w2 := subscribe(t, q, queue.SubscribeOptions{})
	put(t, q, log, "a")
	first.Close()
	if w2.wakes != 1 {
		t.Fatal("closing a woken subscription woke nobody")
	}
	if _, err := first.Take(make([]queue.Delivery, 1)); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Take after Close: %v", err)
	}
}

func TestIdleConsumersAreServedInTurn(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	a, wa := subscribe(t, q, queue.SubscribeOptions{})
	b, wb := subscribe(t, q, queue.SubscribeOptions{})
	for i := range 6 {
		put(t, q, log, fmt.Sprint(i))
		for _, c := range []struct {
			s *queue.Subscription
			w *waker
		}{{a, wa}, {b, wb}} {
			if c.w.wakes > 0 {
				c.w.wakes = 0
				expect(t, take(t, c.s, 10), fmt.Sprint(i))
				take(t, c.s, 10)
			}
		}
	}
	if got := q.Stats(); got.Delivered != 6 {
		t.Fatalf("stats %+v", got)
	}
}

func TestFairShareLeavesWorkForOthers(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	a, _ := subscribe(t, q, queue.SubscribeOptions{})
	subscribe(t, q, queue.SubscribeOptions{})
	for i := range 10 {
		put(t, q, log, fmt.Sprint(i))
	}
	if got := len(take(t, a, 10)); got != 5 {
		t.Errorf("one of two hungry consumers took %d of 10", got)
	}
}

func TestHigherPriorityComesFirst(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	low, wl := subscribe(t, q, queue.SubscribeOptions{})
	high, wh := subscribe(t, q, queue.SubscribeOptions{Priority: 5})
	put(t, q, log, "a")
	if wh.wakes != 1 || wl.wakes != 0 {
		t.Fatalf("wakes: high %d, low %d", wh.wakes, wl.wakes)
	}
	expect(t, take(t, low, 1))
	expect(t, take(t, high, 0)) // no credit: no longer in the way
	if wl.wakes != 1 {
		t.Fatal("the low one was not woken when the high one declined")
	}
	expect(t, take(t, low, 1), "a")
}

func TestExclusiveConsumerSharesWithNobody(t *testing.T) {
	q := newQueue(t, "q", 0, nil, queue.Options{})
	s, _ := subscribe(t, q, queue.SubscribeOptions{Exclusive: true})
	if _, err := q.Subscribe(&waker{}, queue.SubscribeOptions{}); !errors.Is(err, queue.ErrExclusive) {
		t.Errorf("second consumer: %v", err)
	}
	s.Close()
	subscribe(t, q, queue.SubscribeOptions{})
	if _, err := q.Subscribe(&waker{}, queue.SubscribeOptions{Exclusive: true}); !errors.Is(err, queue.ErrExclusive) {
		t.Errorf("exclusive beside another: %v", err)
	}
}

func TestLastConsumerLeavingIsTold(t *testing.T) {
	idle := 0
	q := newQueue(t, "q", 0, nil, queue.Options{Idle: func() { idle++ }})
	a, _ := subscribe(t, q, queue.SubscribeOptions{})
	b, _ := subscribe(t, q, queue.SubscribeOptions{})
	poll, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true})
	poll.Close()
	a.Close()
	a.Close()
	if idle != 0 {
		t.Fatal("told while one is left")
	}
	b.Close()
	if idle != 1 {
		t.Fatalf("told %d times", idle)
	}
}
