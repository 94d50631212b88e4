package router_test

import (
	"testing"
	"testing/synctest"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// forking declares an exchange that has each message with the key "big" in two queues under different keys, so twice in
// one record.
func (h *house) forking() {
	h.t.Helper()
	h.exchange(router.ExchangeSpec{Name: "x", Kind: router.Topic, Durable: true})
	for _, name := range []string{"big", "copy", "small"} {
		h.queue(router.QueueSpec{Name: name, Durable: true})
		h.bind(router.Binding{Source: "x", Destination: name, Key: name})
	}
	h.bind(router.Binding{Source: "x", Destination: "x", ToExchange: true, Key: "big", NewKey: "copy"})
	h.log.Limit(1000)
}

func sized(exchange, key string, size int) *message.Message {
	return &message.Message{Exchange: exchange, Key: key, Body: make([]byte, size), Guarantee: message.AtLeastOnce, Time: time.Now().UnixMilli()}
}

func (h *house) ready(name string) int {
	h.t.Helper()
	q, err := h.Queue(name, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	return q.Stats().Ready
}

func TestDelayedMessageTooLargeForARecordHoldsUpNoOther(t *testing.T) {
	ticking(t, func(h *house, _ func() *house) {
		h.forking()
		living := h.log.Living()
		for _, m := range []*message.Message{sized("x", "small", 400), sized("x", "big", 600), sized("x", "small", 900)} {
			if _, _, err := h.pub.PublishAfter(1000, m); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if small, big := h.ready("small"), h.ready("big"); small != 2 || big != 0 {
			t.Errorf("%d small messages and %d large ones were released", small, big)
		}
		if n := h.Counters().DelayedDropped.Load(); n != 1 {
			t.Errorf("%d counted as dropped", n)
		}
		if n := h.log.Living() - living; n != 2 {
			t.Errorf("%d references in the log", n)
		}
	})
}

func TestDeadLetterTooLargeForARecordHoldsUpNoOther(t *testing.T) {
	ticking(t, func(h *house, _ func() *house) {
		h.forking()
		q := h.queue(router.QueueSpec{Name: "q", Durable: true, HasTTL: true, TTL: 1000, DeadLetter: true, DeadLetterExchange: "x"})
		h.queue(router.QueueSpec{Name: "other", Durable: true})
		h.exchange(router.ExchangeSpec{Name: "in", Kind: router.Fanout, Durable: true})
		h.bind(router.Binding{Source: "in", Destination: "q"})
		for _, m := range []*message.Message{sized("in", "small", 400), sized("in", "big", 600), sized("in", "small", 900)} {
			h.publish(m)
		}
		time.Sleep(time.Second)
		s, err := q.Subscribe(nobody{}, queue.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := s.Take(make([]queue.Delivery, 5)); n != 0 || err != nil {
			t.Errorf("took %d, %v", n, err)
		}
		synctest.Wait()
		if small, big := h.ready("small"), h.ready("big"); small != 2 || big != 0 {
			t.Errorf("%d small dead letters and %d large ones", small, big)
		}
		if n := h.Counters().DeadLetterDropped.Load(); n != 1 {
			t.Errorf("%d counted as dropped", n)
		}
		if got := q.Stats(); got.Ready != 0 || got.Unacked != 0 || h.log.Living() != 2 {
			t.Errorf("%+v, and %d references in the log", got, h.log.Living())
		}
	})
}

// nobody is a consumer that does not care.
type nobody struct{}

func (nobody) Wake() {}
