package queue_test

import (
	"fmt"
	"slices"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

// waker counts wakes.
type waker struct{ wakes int }

func (w *waker) Wake() { w.wakes++ }

func durable(body string) *message.Message {
	return &message.Message{Body: []byte(body), Guarantee: message.AtLeastOnce}
}

func put(t *testing.T, q *queue.Local, log *queuetest.Log, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		m := durable(body)
		at, _, err := log.Append(m, []uint32{q.ID()})
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Put(m, at); err != nil {
			t.Fatal(err)
		}
	}
}

func subscribe(t *testing.T, q *queue.Local, o queue.SubscribeOptions) (*queue.Subscription, *waker) {
	t.Helper()
	w := &waker{}
	s, err := q.Subscribe(w, o)
	if err != nil {
		t.Fatal(err)
	}
	return s, w
}

func take(t *testing.T, s *queue.Subscription, n int) []queue.Delivery {
	t.Helper()
	ds := make([]queue.Delivery, n)
	got, err := s.Take(ds)
	if err != nil {
		t.Fatal(err)
	}
	return ds[:got]
}

func bodies(ds []queue.Delivery) (list []string) {
	for _, d := range ds {
		list = append(list, string(d.Message.Body))
	}
	return list
}

func expect(t *testing.T, ds []queue.Delivery, want ...string) {
	t.Helper()
	if got := bodies(ds); !slices.Equal(got, want) {
		t.Fatalf("took %q, want %q", got, want)
	}
}

func settle(t *testing.T, s *queue.Subscription, ds []queue.Delivery, how queue.Outcome) {
	t.Helper()
	if _, err := s.Settle(ds, how); err != nil {
		t.Fatal(err)
	}
}

func TestRequeueKeepsOrder(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	put(t, q, log, "a", "b", "c", "d", "e")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := take(t, s, 4)
	settle(t, s, ds[1:2], queue.Requeue)
	settle(t, s, ds[3:4], queue.Release)
	settle(t, s, ds[0:1], queue.Requeue)
	again := take(t, s, 10)
	expect(t, again, "a", "b", "d", "e")
	for i, attempts := range []uint16{1, 1, 0, 0} {
		if again[i].Attempts != attempts {
			t.Errorf("%s: %d attempts, want %d", again[i].Message.Body, again[i].Attempts, attempts)
		}
	}
	if again[0].ID != ds[0].ID {
		t.Errorf("the same message has another id at its second attempt: %d, %d", ds[0].ID, again[0].ID)
	}
}

func TestAckReachesTheLogAndOnlyThen(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	put(t, q, log, "a", "b")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := take(t, s, 2)
	if log.Living() != 2 {
		t.Fatalf("%d living references while out with a consumer", log.Living())
	}
	settle(t, s, ds[:1], queue.Ack)
	if log.Needs(1, ds[0].Pos()) || !log.Needs(1, ds[1].Pos()) {
		t.Error("the log does not have exactly the acknowledged one as done")
	}
	if got := q.Stats(); got.Ready != 0 || got.Unacked != 1 || got.Acked != 1 {
		t.Errorf("stats %+v", got)
	}
}

func TestPutTakeSettleAllocatesNothing(t *testing.T) {
	q := newQueue(t, "q", 0, nil, queue.Options{})
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	m := &message.Message{Body: make([]byte, 1024)}
	ds := make([]queue.Delivery, 64)
	run := func() {
		for range 64 {
			if err := q.Put(m, queue.Pos{}); err != nil {
				t.Fatal(err)
			}
		}
		n, _ := s.Take(ds)
		if n != 64 {
			t.Fatalf("took %d", n)
		}
		settle(t, s, ds, queue.Ack)
		if n, _ := s.Take(ds); n != 0 {
			t.Fatal("more")
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations per 64 messages", n)
	}
}

func TestRequeueBehindTheLastOfAFullChunk(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	var want []string
	for i := range 64 {
		want = append(want, fmt.Sprint(i))
	}
	put(t, q, log, want...)
	middle, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true, Match: func(m *message.Message) bool {
		var n int
		_, _ = fmt.Sscan(string(m.Body), &n)
		return n >= 16 && n < 32
	}})
	ds := take(t, middle, 16)
	for i := range ds {
		settle(t, middle, ds[i:i+1], queue.Release)
	}
	all, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true})
	expect(t, take(t, all, 100), want...)
}
