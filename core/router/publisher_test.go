package router_test

import (
	"testing"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

type sink func()

func (s sink) Confirmed(_, _ uint64, _ error) { s() }

func ticket(f func()) confirm.Ticket { return confirm.Ticket{To: sink(f), Seq: 1} }

func TestCachedPublishAllocatesNothing(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "x", Kind: router.Topic})
	q := h.queue(router.QueueSpec{Name: "q"})
	h.bind(router.Binding{Source: "x", Destination: "q", Key: "a.#"})
	s, err := q.Subscribe(waker{}, queue.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := &message.Message{Exchange: "x", Key: "a.b", Body: make([]byte, 1024)}
	ds := make([]queue.Delivery, 64)
	run := func() {
		for range 32 {
			if _, _, err := h.pub.Publish(m); err != nil {
				t.Fatal(err)
			}
		}
		n, _ := s.Take(ds)
		if _, err := s.Settle(ds[:n], queue.Ack); err != nil || n != 32 {
			t.Fatal(n, err)
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations per 32 messages", n)
	}
}

func BenchmarkPublishTakeSettle(b *testing.B) {
	h := newHouse(&testing.T{})
	h.exchange(router.ExchangeSpec{Name: "x", Kind: router.Topic})
	q := h.queue(router.QueueSpec{Name: "q"})
	h.bind(router.Binding{Source: "x", Destination: "q", Key: "a.#"})
	s, _ := q.Subscribe(waker{}, queue.SubscribeOptions{})
	m := &message.Message{Exchange: "x", Key: "a.b", Body: make([]byte, 1024)}
	ds := make([]queue.Delivery, 64)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_, _, _ = h.pub.Publish(m)
		if i%32 == 31 {
			n, _ := s.Take(ds)
			_, _ = s.Settle(ds[:n], queue.Ack)
		}
	}
}

type retainer struct{ kept []queue.Pos }

func (r *retainer) Row(m *message.Message) queue.Row {
	return queue.Row{Table: queue.TableRetained, Key: m.Key, Value: []byte{}, Message: true}
}

func (r *retainer) Keep(_ *message.Message, at queue.Pos) { r.kept = append(r.kept, at) }

func TestRetainedMessageThatNobodyWantsIsWritten(t *testing.T) {
	h := newHouse(t)
	keep := &retainer{}
	r := router.New(router.Config{Name: "/", Log: h.log, Retainer: keep})
	m := text(router.TopicExchange, "k", "v")
	m.Retain = true
	m.Guarantee = message.AtMostOnce
	received := queue.Row{Table: queue.TableMQTTReceived, Key: "client/1", Value: []byte{1}}
	result, receipt, err := r.NewPublisher(1).Publish(m, received)
	if err != nil || result != router.Unroutable || receipt.By == nil {
		t.Fatalf("Publish() = %v, %v, %v", result, receipt, err)
	}
	if len(keep.kept) != 1 || keep.kept[0].Seq == 0 {
		t.Errorf("kept %v", keep.kept)
	}
	if len(h.log.Rows(queue.TableRetained)) != 1 || len(h.log.Rows(queue.TableMQTTReceived)) != 1 || h.log.Records() != 1 {
		t.Error("message and rows are not one record")
	}
}

type replies map[string][2]string

func (r replies) Resolve(token string) (exchange, key string, ok bool) {
	a, ok := r[token]
	return a[0], a[1], ok
}

func TestReplyTokenLeadsToItsAddress(t *testing.T) {
	h := newHouse(t)
	r := router.New(router.Config{Name: "/", Log: h.log, Replies: replies{"tok": {router.TopicExchange, "answers.1"}}})
	q, _, err := r.DeclareQueue(router.QueueSpec{Name: "q"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Bind(router.Binding{Source: router.TopicExchange, Destination: "q", Key: "answers.*"}, 0); err != nil {
		t.Fatal(err)
	}
	p := r.NewPublisher(1)
	if result, _, _ := p.Publish(text("", router.ReplyPrefix+"tok", "a")); result != router.Routed {
		t.Errorf("a good token: %v", result)
	}
	if result, _, _ := p.Publish(text("", router.ReplyPrefix+"forged", "a")); result != router.Unroutable {
		t.Errorf("a forged token: %v", result)
	}
	if q.Stats().Ready != 1 {
		t.Error("the answer did not arrive")
	}
}
