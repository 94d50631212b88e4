package queue_test

import (
	"errors"
	"slices"
	"testing"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

func TestSingleActiveConsumerHandsOver(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{Single: true})
	first, w1 := subscribe(t, q, queue.SubscribeOptions{})
	second, w2 := subscribe(t, q, queue.SubscribeOptions{})
	third, w3 := subscribe(t, q, queue.SubscribeOptions{})
	for _, s := range []*queue.Subscription{third, second, first} {
		expect(t, take(t, s, 10))
	}
	put(t, q, log, "a", "b", "c")
	if w1.wakes != 1 || w2.wakes != 0 || w3.wakes != 0 {
		t.Fatalf("wakes %d, %d, %d", w1.wakes, w2.wakes, w3.wakes)
	}
	expect(t, take(t, second, 10))
	ds := take(t, first, 1)
	expect(t, ds, "a")
	expect(t, take(t, first, 0)) // no credit: it stays the active one
	expect(t, take(t, second, 10))
	poll, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true})
	expect(t, take(t, poll, 1), "b")

	settle(t, first, ds, queue.Requeue)
	first.Close()
	if w2.wakes != 1 || w3.wakes != 0 {
		t.Fatalf("the next in line was not woken: %d, %d", w2.wakes, w3.wakes)
	}
	expect(t, take(t, third, 10))
	expect(t, take(t, second, 10), "a", "c")
	second.Close()
	put(t, q, log, "d")
	expect(t, take(t, third, 10), "d")
}

func TestSingleActiveConsumerIsOfTheHighestPriority(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{Single: true})
	first, _ := subscribe(t, q, queue.SubscribeOptions{})
	low, _ := subscribe(t, q, queue.SubscribeOptions{})
	high, _ := subscribe(t, q, queue.SubscribeOptions{Priority: 1})
	put(t, q, log, "a", "b")
	expect(t, take(t, first, 1), "a") // it was there when there was no other
	first.Close()
	expect(t, take(t, low, 10))
	expect(t, take(t, high, 10), "b")
}

func TestSingleActiveSelectiveConsumer(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{Single: true})
	all := func(*message.Message) bool { return true }
	first, _ := subscribe(t, q, queue.SubscribeOptions{Match: all})
	second, w2 := subscribe(t, q, queue.SubscribeOptions{Match: all})
	expect(t, take(t, first, 1))
	expect(t, take(t, second, 1))
	put(t, q, log, "a")
	if w2.wakes != 0 {
		t.Fatal("a consumer that stands by was woken")
	}
	first.Close()
	if w2.wakes != 1 {
		t.Fatal("the next one was not woken")
	}
	expect(t, take(t, second, 1), "a")
}

func TestSoleConsumerHasAllWhileItIsThere(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	plain, w := subscribe(t, q, queue.SubscribeOptions{})
	put(t, q, log, "a", "b", "c", "d")
	expect(t, take(t, plain, 1), "a")
	sole, _ := subscribe(t, q, queue.SubscribeOptions{Sole: true})
	next, wNext := subscribe(t, q, queue.SubscribeOptions{Sole: true})
	expect(t, take(t, plain, 1))
	expect(t, take(t, next, 1))
	expect(t, take(t, sole, 1), "b")
	expect(t, take(t, sole, 0)) // no credit: the others stand by all the same
	expect(t, take(t, plain, 1))
	wakes := wNext.wakes
	sole.Close()
	if wNext.wakes != wakes+1 {
		t.Error("the next of its kind was not woken")
	}
	expect(t, take(t, plain, 1))
	expect(t, take(t, next, 1), "c")
	wakes = w.wakes
	next.Close()
	if w.wakes != wakes+1 {
		t.Error("who stood by was not woken")
	}
	expect(t, take(t, plain, 1), "d")
}

func TestExclusiveConsumerOfASingleActiveQueueIsRefused(t *testing.T) {
	q := newQueue(t, "q", 0, nil, queue.Options{Single: true})
	if _, err := q.Subscribe(&waker{}, queue.SubscribeOptions{Exclusive: true}); !errors.Is(err, queue.ErrExclusive) {
		t.Errorf("Subscribe: %v", err)
	}
}

func TestRefusedMessageBecomesADeadLetter(t *testing.T) {
	log, dead := queuetest.NewLog(), &graveyard{}
	failing := false
	q := newQueue(t, "q", 1, log, queue.Options{MaxLength: queue.AtMost(1), Overflow: queue.RefuseDeadLetter, DeadLetter: func(ds []queue.Delivery, why queue.Reason) (confirm.Receipt, error) {
		if failing {
			return confirm.Receipt{}, errors.New("no")
		}
		return dead.bury(ds, why)
	}})
	put(t, q, log, "a")
	if err := q.Put(durable("b"), queue.Pos{}); err != queue.ErrBuried {
		t.Fatalf("Put: %v", err)
	}
	if want := []string{"b:maxlen"}; !slices.Equal(dead.bodies(), want) {
		t.Errorf("dead letters %q, want %q", dead.bodies(), want)
	}
	if got := q.Stats(); got.Ready != 1 || got.Unacked != 0 || got.Refused != 1 || got.DeadLettered != 1 {
		t.Errorf("%+v", got)
	}
	failing = true
	if err := q.Put(durable("c"), queue.Pos{}); err != queue.ErrBuried {
		t.Fatalf("Put: %v", err)
	}
	if got := q.Stats(); got.Ready != 2 || got.Unacked != 0 {
		t.Errorf("what cannot get away is lost: %+v", got)
	}
	plain := newQueue(t, "plain", 1, log, queue.Options{MaxLength: queue.AtMost(1), Overflow: queue.RefuseDeadLetter})
	put(t, plain, log, "a")
	if err := plain.Put(durable("b"), queue.Pos{}); err != queue.ErrFull {
		t.Errorf("without a place for dead letters: %v", err)
	}
}
