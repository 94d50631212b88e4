package stomp

import (
	"errors"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// TestTransactionGivesBackToEveryQueue: one queue whose dead letters cannot be read just now must not keep the messages of
// the others with nobody.
func TestTransactionGivesBackToEveryQueue(t *testing.T) {
	h := buildHouse(t)
	tx := &transaction{}
	p := h.router.NewPublisher(h.router.NewOrigin())
	for _, spec := range []router.QueueSpec{
		{Name: "limited", Durable: true, MaxAttempts: queue.AtMost(0), DeadLetter: true, DeadLetterKey: "dead"},
		{Name: "plain", Durable: true},
	} {
		q, _, err := h.router.DeclareQueue(spec, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Publish(&message.Message{Key: spec.Name, Body: []byte("m"), Guarantee: message.AtLeastOnce}); err != nil {
			t.Fatal(err)
		}
		taking, err := q.Subscribe(nobody{}, queue.SubscribeOptions{Poll: true})
		if err != nil {
			t.Fatal(err)
		}
		ds := make([]queue.Delivery, 1)
		if n, err := taking.Take(ds); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		tx.ends = append(tx.ends, ending{&subscription{subscription: taking}, sent{delivery: ds[0].Unread()}, queue.Ack})
	}
	h.log.Fail(errors.New("the disk does not read"))
	if err := tx.giveBack(); err == nil {
		t.Error("nobody is told")
	}
	h.log.Fail(nil)
	h.nobodyHolds()
	if limited, plain := h.ready("limited"), h.ready("plain"); limited != 1 || plain != 1 {
		t.Errorf("%d and %d are back", limited, plain)
	}
}
