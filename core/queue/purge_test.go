package queue_test

import (
	"errors"
	"testing"

	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

func TestPurgeForgetsExactlyWhatItRemoved(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	put(t, q, log, "a", "b", "c")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := take(t, s, 1)
	n, _, err := q.Purge()
	if n != 2 || err != nil {
		t.Fatalf("Purge() = %d, %v", n, err)
	}
	if log.Living() != 1 || !log.Needs(1, ds[0].Pos()) {
		t.Error("the message that is out with a consumer is gone from the log")
	}
}

func TestClosedQueueWakesItsConsumersAndTakesNothing(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	s, w := subscribe(t, q, queue.SubscribeOptions{})
	put(t, q, log, "a", "b")
	ds := take(t, s, 1)
	w.wakes = 0
	if _, err := q.Close(queue.Condition{IfUnused: true}); !errors.Is(err, queue.ErrInUse) {
		t.Errorf("if unused: %v", err)
	}
	if _, err := q.Close(queue.Condition{IfEmpty: true}); !errors.Is(err, queue.ErrNotEmpty) {
		t.Errorf("if empty: %v", err)
	}
	if n, err := q.Close(queue.Condition{}); n != 1 || err != nil {
		t.Fatalf("Close() = %d, %v", n, err)
	}
	if _, err := q.Discard(); err != nil || log.Living() != 1 {
		t.Fatalf("after Discard, %v: %d references, want that of the message that is out", err, log.Living())
	}
	if w.wakes != 1 {
		t.Error("the consumer was not woken to find out")
	}
	if err := q.Put(durable("c"), queue.Pos{}); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Put: %v", err)
	}
	settle(t, s, ds, queue.Requeue) // has nowhere to go back to: it ends in the log
	if log.Needs(1, ds[0].Pos()) {
		t.Error("a token settled after the end is still needed")
	}
	s.Close()
}

func TestPurgeOfADeepQueueIsToldInPortions(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	for range 50_000 {
		put(t, q, log, "old")
	}
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	out := take(t, s, 3)
	records := log.Records()
	n, receipt, err := q.Purge()
	if n != 50_000-3 || err != nil || receipt.By == nil || log.Living() != 3 {
		t.Fatalf("Purge() = %d, %v, %v with %d references left", n, receipt, err, log.Living())
	}
	if got := log.Records() - records; got < 2 || got > 10 {
		t.Errorf("acknowledged in %d portions", got)
	}
	settle(t, s, out, queue.Release)
	expect(t, take(t, s, 9), "old", "old", "old")
}
