package router

import (
	"errors"
	"log/slog"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

type sleeper struct{}

func (sleeper) Wake() {}

func TestRelocatedMessageIsInOneQueueWhateverHappens(t *testing.T) {
	log := queuetest.NewLog()
	id := uint32(0)
	r := New(Config{Name: "/", Log: log, Slog: slog.New(slog.DiscardHandler), NextID: func() (uint32, []queue.Row) { id++; return id, nil }})
	var queues []*queue.Local
	for _, name := range []string{"from", "to"} {
		q, _, err := r.DeclareQueue(QueueSpec{Name: name, Durable: true}, 0)
		if err != nil {
			t.Fatal(err)
		}
		queues = append(queues, q)
	}
	from, to := queues[0], queues[1]
	for _, body := range []string{"1", "2", string(make([]byte, 2*relocateBytes)), "4"} {
		if _, _, err := r.NewPublisher(0).Publish(&message.Message{Key: "from", Body: []byte(body), Guarantee: 2}); err != nil {
			t.Fatal(err)
		}
	}
	sub, err := from.Subscribe(sleeper{}, queue.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ds := make([]queue.Delivery, 4)
	if n, err := sub.Take(ds); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	log.Fail(errors.New("no"))
	if n, _, err := r.Relocate(sub, ds, to, "$share/g/a"); n != 0 || err == nil {
		t.Fatalf("moved %d, %v", n, err)
	}
	log.Fail(nil)
	// What has been taken already is not refused, whatever limit its new queue has been given.
	limit := Policy{Name: "p", Pattern: "^to$", Definition: Definition{keyMaxLength: int64(1), keyOverflow: "reject-publish"}}
	if _, _, err := r.SetPolicy(Users, limit); err != nil {
		t.Fatal(err)
	}
	records := log.Records()
	n, _, err := r.Relocate(sub, ds, to, "$share/g/a")
	if n != 4 || err != nil {
		t.Fatalf("moved %d, %v", n, err)
	}
	if n := log.Records() - records; n != 2 { // the first three, and what is behind the large one
		t.Errorf("%d records", n)
	}
	if s := from.Stats(); s.Ready != 0 || s.Unacked != 0 || s.Acked != 4 {
		t.Errorf("from: %+v", s)
	}
	target, err := to.Subscribe(sleeper{}, queue.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]queue.Delivery, 5)
	if n, err := target.Take(got); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	if m := got[1].Message; string(m.Body) != "2" || m.Exchange != "$share/g/a" || m.Key != "from" {
		t.Errorf("got %+v", m)
	}
	if n := log.Living(); n != 4 {
		t.Errorf("%d messages in the log", n)
	}
}
