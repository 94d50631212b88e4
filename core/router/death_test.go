package router_test

import (
	"slices"
	"testing"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// TestHistoryCountsAndKeepsTheRest: an event that comes again moves to the front with a higher count; when, from which
// exchange and under which keys it happened stays as it was the first time, as in RabbitMQ.
func TestHistoryCountsAndKeepsTheRest(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "dlx", Kind: router.Fanout})
	h.exchange(router.ExchangeSpec{Name: "in", Kind: router.Fanout})
	for _, name := range []string{"one", "two"} {
		h.queue(router.QueueSpec{Name: name, Durable: true, DeadLetter: true, DeadLetterExchange: "dlx", DeadLetterKey: "failed"})
	}
	h.bind(router.Binding{Source: "in", Destination: "one"})
	h.queue(router.QueueSpec{Name: "dead", Durable: true})
	h.bind(router.Binding{Source: "dlx", Destination: "dead"})
	m := text("in", "first", "m")
	for _, to := range []string{"in", "two", "one"} {
		next := *m
		next.Exchange, next.Key = "", to
		if to == "in" {
			next.Exchange, next.Key = "in", "first"
			to = "one"
		}
		h.publish(&next)
		h.reject(to)
		m = h.messages("dead")[0]
	}
	history, _ := m.Head.Header("x-death")
	var got []string
	for event := range history.Array() {
		fields, _ := event.Table()
		for _, name := range []string{"queue", "reason", "count", "exchange", "routing-keys"} {
			v, ok := fields.Get(name)
			if !ok {
				t.Errorf("no %s", name)
			}
			got = append(got, v.Text())
		}
	}
	want := []string{
		"one", "rejected", "2", "in", `[{"t":"S","v":"first"}]`,
		"two", "rejected", "1", "", `[{"t":"S","v":"two"}]`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("x-death %q, want %q", got, want)
	}
	for name, want := range map[string]string{"x-first-death-queue": "one", "x-first-death-exchange": "in", "x-last-death-queue": "one", "x-last-death-exchange": ""} {
		if v, ok := m.Head.Header(name); !ok || v.Text() != want {
			t.Errorf("%s = %q", name, v.Text())
		}
	}
}

// TestStrangeHistoryEndsNoMessage: an event that no broker writes is a client's doing, so the message does not go round
// by itself.
func TestStrangeHistoryEndsNoMessage(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "a", Durable: true, MaxLength: queue.AtMost(1), DeadLetter: true, DeadLetterKey: "b"})
	h.queue(router.QueueSpec{Name: "b", Durable: true})
	m := text("", "a", "old")
	event := message.AppendStringField(message.AppendStringField(message.Headers{}, "queue", "b"), "reason", "expired")
	m.Head = message.AppendHeaders(nil, message.AppendField(message.Headers{}, "x-death",
		message.ArrayValue(message.StringValue("odd"), message.TableValue(event))))
	h.publish(m)
	h.publish(text("", "a", "new"))
	if got := h.drain("b"); len(got) != 1 {
		t.Errorf("b has %q", got)
	}
}

// TestEventsWithoutACountLeaveTheHistory: RabbitMQ before 3.6 wrote them, an event each time, and publishers copy them. Kept, they
// would stay for ever.
func TestEventsWithoutACountLeaveTheHistory(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "a", Durable: true, DeadLetter: true, DeadLetterKey: "b"})
	h.queue(router.QueueSpec{Name: "b", Durable: true})
	legacy := message.AppendStringField(message.AppendStringField(message.Headers{}, "reason", "rejected"), "queue", "a")
	counted := message.AppendField(legacy, "count", message.IntValue(2))
	m := text("", "a", "m")
	m.Head = message.AppendHeaders(nil, message.AppendField(message.Headers{}, "x-death",
		message.ArrayValue(message.TableValue(legacy), message.TableValue(counted), message.TableValue(legacy))))
	h.publish(m)
	h.reject("a")
	history, _ := h.messages("b")[0].Head.Header("x-death")
	events := 0
	for event := range history.Array() {
		fields, _ := event.Table()
		if count, _ := fields.Get("count"); count.Text() != "3" {
			t.Errorf("count %s, want 3", count.Text())
		}
		events++
	}
	if events != 1 {
		t.Errorf("%d events, want one", events)
	}
}

// TestLifetimeOfADeadLetterIsKnown also when its publisher's protocol has no text for it.
func TestLifetimeOfADeadLetterIsKnown(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "work", DeadLetter: true, DeadLetterKey: "dead"})
	h.queue(router.QueueSpec{Name: "dead"})
	m := text("", "work", "m")
	m.Time = time.Now().UnixMilli()
	m.Expires = m.Time + 60_000
	h.publish(m)
	h.reject("work")
	dead := h.messages("dead")[0]
	history, _ := dead.Head.Header("x-death")
	fields, _ := slices.Collect(history.Array())[0].Table()
	if v, _ := fields.Get("original-expiration"); v.Text() != "60000" || dead.Expires != 0 {
		t.Errorf("original-expiration %q, expires %d", v.Text(), dead.Expires)
	}
}
