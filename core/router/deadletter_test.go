package router_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

func TestDeadLetterCarriesItsHistory(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "dlx", Kind: router.Fanout})
	h.queue(router.QueueSpec{Name: "work", Durable: true, DeadLetter: true, DeadLetterExchange: "dlx", DeadLetterKey: "failed"})
	h.queue(router.QueueSpec{Name: "dead", Durable: true})
	h.bind(router.Binding{Source: "dlx", Destination: "dead"})
	m := text("", "work", "m")
	m.Head = message.AppendString(nil, message.Expiration, "60000")
	m.Head = message.AppendString(m.Head, message.ContentType, "text/plain")
	m.Head = message.AppendHeaders(m.Head, message.AppendStringField(message.Headers(nil), "h", "v"))
	for round := int64(1); round <= 2; round++ {
		h.publish(m)
		h.reject("work")
		dead := h.messages("dead")
		if len(dead) != 1 {
			t.Fatalf("%d dead letters", len(dead))
		}
		m = dead[0]
		if m.Exchange != "dlx" || m.Key != "failed" || string(m.Body) != "m" {
			t.Errorf("dead letter %s/%s/%s", m.Exchange, m.Key, m.Body)
		}
		if contentType, _ := m.Head.String(message.ContentType); contentType != "text/plain" {
			t.Error("content type lost")
		}
		if _, has := m.Head.String(message.Expiration); has {
			t.Error("the expiration is still there")
		}
		if v, _ := m.Head.Header("h"); v.Text() != "v" {
			t.Error("header lost")
		}
		history, _ := m.Head.Header("x-death")
		events := slices.Collect(history.Array())
		if len(events) != 1 {
			t.Fatalf("%d events in x-death", len(events))
		}
		fields, _ := events[0].Table()
		for name, want := range map[string]string{"count": fmt.Sprint(round), "reason": "rejected", "queue": "work"} {
			if v, _ := fields.Get(name); v.Text() != want {
				t.Errorf("x-death %s = %q, want %q", name, v.Text(), want)
			}
		}
		if v, _ := m.Head.Header("x-first-death-queue"); v.Text() != "work" {
			t.Errorf("x-first-death-queue = %q", v.Text())
		}
		next := *m
		next.Exchange, next.Key = "", "work"
		m = &next
	}
	if h.log.Living() != 0 {
		t.Errorf("%d references left in the log", h.log.Living())
	}
}

func (h *house) reject(name string) {
	h.t.Helper()
	q, err := h.Queue(name, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := q.Subscribe(waker{}, queue.SubscribeOptions{Poll: true})
	if err != nil {
		h.t.Fatal(err)
	}
	ds := make([]queue.Delivery, 1)
	if n, err := s.Take(ds); n != 1 || err != nil {
		h.t.Fatal(n, err)
	}
	if _, err := s.Settle(ds, queue.Reject); err != nil {
		h.t.Fatal(err)
	}
}

func TestDeadLetterCycleEndsWithACount(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "a", Durable: true, MaxLength: queue.AtMost(1), DeadLetter: true, DeadLetterKey: "b"})
	h.queue(router.QueueSpec{Name: "b", Durable: true, MaxLength: queue.AtMost(1), DeadLetter: true, DeadLetterKey: "a"})
	for i := range 10 {
		h.publish(text("", "a", fmt.Sprint(i)))
	}
	if h.Counters().DeadLetterCycles.Load() == 0 {
		t.Error("nothing counted")
	}
	if got := len(h.drain("a")) + len(h.drain("b")); got != 2 {
		t.Errorf("%d messages in two queues of one", got)
	}
	if h.log.Living() != 0 {
		t.Errorf("%d references left in the log", h.log.Living())
	}
}

func TestRejectedMessagesDoNotGoRoundForEver(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "self", Durable: true, MaxLength: queue.AtMost(1), DeadLetter: true, DeadLetterKey: "self"})
	for i := range 2 {
		h.publish(text("", "self", fmt.Sprint(i)))
		h.reject("self") // a rejection lets it come back once
	}
	h.publish(text("", "self", "2"))
	if got := len(h.drain("self")); got != 1 {
		t.Errorf("%d messages in a queue of one", got)
	}
}

func TestDeadLettersThatCannotBeWrittenStay(t *testing.T) {
	h := newHouse(t)
	q := h.queue(router.QueueSpec{Name: "work", Durable: true, DeadLetter: true, DeadLetterKey: "dead"})
	h.queue(router.QueueSpec{Name: "dead", Durable: true})
	h.publish(text("", "work", "m"))
	h.log.Fail(errors.New("too large"))
	h.reject("work")
	h.log.Fail(nil)
	if got := h.drain("work"); len(got) != 1 || q.Stats().Unacked != 0 {
		t.Errorf("in the queue: %q, stats %+v", got, q.Stats())
	}
}

func TestRefusedMessagesAreHandedOverBeforePublishReturns(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "full", Durable: true, MaxLength: queue.AtMost(1), Overflow: queue.RefuseDeadLetter, DeadLetter: true, DeadLetterKey: "dead"})
	h.queue(router.QueueSpec{Name: "dead", Durable: true})
	h.publish(text("", "full", "first"))
	var all sync.WaitGroup
	for range 4 {
		p := h.NewPublisher(h.NewOrigin())
		all.Go(func() {
			for range 250 {
				if _, _, err := p.Publish(text("", "full", "refused")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := len(h.drain("dead")); got != 1000 {
		t.Errorf("%d of 1000 refused messages are where they belong", got)
	}
	if got := len(h.drain("full")); got != 1 || h.log.Living() != 0 {
		t.Errorf("%d in the full queue, %d references left in the log", got, h.log.Living())
	}
}

func TestDeadLettersKeepTheirFurtherKeys(t *testing.T) {
	for _, key := range []string{"", "failed"} {
		h := newHouse(t)
		h.exchange(router.ExchangeSpec{Name: "dlx", Kind: router.Direct})
		h.queue(router.QueueSpec{Name: "work", DeadLetter: true, DeadLetterExchange: "dlx", DeadLetterKey: key})
		for _, name := range []string{"work", "copy", "failed"} {
			h.queue(router.QueueSpec{Name: "dead-" + name})
			h.bind(router.Binding{Source: "dlx", Destination: "dead-" + name, Key: name})
		}
		m := text("", "work", "m")
		m.Head = message.AppendHeaders(nil, message.AppendField(message.Headers(nil), "CC", message.ArrayValue(message.StringValue("copy"))))
		if _, _, err := h.pub.PublishAlso(m, []string{"copy"}); err != nil {
			t.Fatal(err)
		}
		h.reject("work")
		want := map[bool][]string{true: {"dead-work", "dead-copy"}, false: {"dead-failed"}}[key == ""]
		for _, name := range []string{"dead-work", "dead-copy", "dead-failed"} {
			dead := h.messages(name)
			if slices.Contains(want, name) != (len(dead) == 1) {
				t.Errorf("key %q: %s has %d", key, name, len(dead))
			}
			for _, m := range dead {
				history, _ := m.Head.Header("x-death")
				fields, _ := slices.Collect(history.Array())[0].Table()
				var keys []string
				list, _ := fields.Get("routing-keys")
				for element := range list.Array() {
					keys = append(keys, element.Text())
				}
				if !slices.Equal(keys, []string{"work", "copy"}) {
					t.Errorf("key %q: routing-keys %q", key, keys)
				}
				if _, has := m.Head.Header("CC"); has != (key == "") {
					t.Errorf("key %q: CC is there: %v", key, has)
				}
			}
		}
	}
}

func TestManyFurtherKeysAreFollowedOnce(t *testing.T) {
	h := newHouse(t)
	for _, name := range []string{"x", "y"} { // a cycle
		h.exchange(router.ExchangeSpec{Name: name, Kind: router.Topic, Alternate: "rest"})
	}
	h.exchange(router.ExchangeSpec{Name: "rest", Kind: router.Fanout})
	h.bind(router.Binding{Source: "x", Destination: "y", ToExchange: true, Key: "#"})
	h.bind(router.Binding{Source: "y", Destination: "x", ToExchange: true, Key: "#"})
	h.queue(router.QueueSpec{Name: "q"})
	h.queue(router.QueueSpec{Name: "unrouted"})
	h.bind(router.Binding{Source: "y", Destination: "q", Key: "k.*"})
	h.bind(router.Binding{Source: "rest", Destination: "unrouted"})
	var keys []string
	for i := range 5000 {
		keys = append(keys, fmt.Sprint("k.", i))
	}
	if result, _, err := h.pub.PublishAlso(text("x", "k", "m"), keys); err != nil || result != router.Routed {
		t.Fatal(result, err)
	}
	if got := h.drain("q"); !slices.Equal(got, []string{"x/k/m"}) {
		t.Errorf("q has %q", got)
	}
	if got := h.drain("unrouted"); len(got) != 0 {
		t.Errorf("the alternate exchange got %q of what was routed", got)
	}
}

func TestDeadLettersMayGoToAnInternalExchange(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "dlx", Kind: router.Fanout, Internal: true})
	h.queue(router.QueueSpec{Name: "jobs", DeadLetter: true, DeadLetterExchange: "dlx"})
	h.queue(router.QueueSpec{Name: "dead"})
	h.bind(router.Binding{Source: "dlx", Destination: "dead"})
	h.publish(text("", "jobs", "m"))
	h.reject("jobs")
	if got := h.drain("dead"); !slices.Equal(got, []string{"dlx/jobs/m"}) {
		t.Errorf("dead has %q", got)
	}
}
