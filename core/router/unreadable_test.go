package router_test

import (
	"errors"
	"testing"

	"tridge/core/queue"
	"tridge/core/router"
)

// TestUnreadableMessageFailsItsTransactionAndLeavesWithACount: the tokens stay the caller's, whoever gives them back loses no
// other message, and the bad one is in the way once.
func TestUnreadableMessageFailsItsTransactionAndLeavesWithACount(t *testing.T) {
	h := newHouse(t)
	q := h.queue(router.QueueSpec{Name: "work", Durable: true, DeadLetter: true, DeadLetterKey: "dead"})
	h.queue(router.QueueSpec{Name: "dead", Durable: true})
	for _, body := range []string{"a", "bad", "c"} {
		h.publish(text("", "work", body))
	}
	s, err := q.Subscribe(waker{}, queue.SubscribeOptions{Poll: true})
	if err != nil {
		t.Fatal(err)
	}
	ds := make([]queue.Delivery, 3)
	take := func(want int) {
		t.Helper()
		if n, err := s.Take(ds); n != want || err != nil {
			t.Fatal(n, err)
		}
		for i := range ds[:want] {
			ds[i] = ds[i].Unread()
		}
	}
	commit := func(n int) error {
		_, err := h.pub.Commit(&router.Transaction{Ends: []router.End{{Subscription: s, Deliveries: ds[:n], How: queue.Reject}}}, func(int, router.Result) {})
		return err
	}
	take(3)
	h.log.Damage(ds[1].Pos())
	if err := commit(3); !errors.Is(err, queue.ErrUnreadable) {
		t.Fatal(err)
	}
	if _, err := s.Settle(ds, queue.Requeue); err != nil {
		t.Fatal(err)
	}
	take(2)
	if err := commit(2); err != nil {
		t.Fatal(err)
	}
	if got := q.Stats(); got.Unacked != 0 || got.Ready != 0 || got.Unreadable != 1 || got.DeadLettered != 2 {
		t.Errorf("%+v", got)
	}
	if got := len(h.drain("dead")); got != 2 || h.log.Living() != 0 {
		t.Errorf("%d dead letters, %d references left", got, h.log.Living())
	}
}
