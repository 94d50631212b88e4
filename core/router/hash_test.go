package router_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"tridge/core/message"
	"tridge/core/router"
)

// spread publishes n messages and returns which queue got which.
func (h *house) spread(n int, queues []string, make func(i int) *message.Message) map[string]string {
	h.t.Helper()
	for i := range n {
		if h.publish(make(i)) != router.Routed {
			h.t.Fatal("not routed")
		}
	}
	where := map[string]string{}
	for _, name := range queues {
		for _, m := range h.messages(name) {
			where[string(m.Body)] = name
		}
	}
	return where
}

func numbered(i int) *message.Message {
	return &message.Message{Exchange: "x", Key: fmt.Sprint("key.", i), Body: fmt.Append(nil, i)}
}

func TestConsistentHashSharesByWeight(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "x", Kind: router.ConsistentHash})
	weights := map[string]int{"a": 1, "b": 1, "c": 2}
	for name, weight := range weights {
		h.queue(router.QueueSpec{Name: name})
		h.bind(router.Binding{Source: "x", Destination: name, Key: fmt.Sprint(weight)})
	}
	const n = 8000
	names := []string{"a", "b", "c"}
	before := h.spread(n, names, numbered)
	if len(before) != n {
		t.Fatalf("%d messages arrived", len(before))
	}
	counts := map[string]int{}
	for _, name := range before {
		counts[name]++
	}
	for name, weight := range weights {
		if want := n * weight / 4; math.Abs(float64(counts[name]-want)) > float64(want)/10 {
			t.Errorf("%s got %d, want about %d", name, counts[name], want)
		}
	}
	if again := h.spread(n, names, numbered); fmt.Sprint(again) != fmt.Sprint(before) {
		t.Error("a second time the messages went elsewhere")
	}
	// One that comes takes its share from the others and moves nothing between them.
	h.queue(router.QueueSpec{Name: "d"})
	h.bind(router.Binding{Source: "x", Destination: "d", Key: "1"})
	moved := 0
	for body, name := range h.spread(n, append(names, "d"), numbered) {
		if name == before[body] {
			continue
		}
		if moved++; name != "d" {
			t.Fatalf("message %s moved from %s to %s", body, before[body], name)
		}
	}
	if moved == 0 || moved > n/4 {
		t.Errorf("%d messages moved", moved)
	}
}

func TestConsistentHashOfHeadersAndProperties(t *testing.T) {
	for _, c := range []struct {
		name      string
		arguments message.Headers
		head      func(i int) message.Head
	}{
		{"header", message.AppendStringField(message.Headers(nil), "hash-header", "user"), func(i int) message.Head {
			return message.AppendHeaders(nil, message.AppendField(message.Headers(nil), "user", message.IntValue(int64(i%10))))
		}},
		{"property", message.AppendStringField(message.Headers(nil), "hash-property", "correlation_id"), func(i int) message.Head {
			return message.AppendString(nil, message.CorrelationID, fmt.Sprint(i%10))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.exchange(router.ExchangeSpec{Name: "x", Kind: router.ConsistentHash, Arguments: c.arguments})
			names := []string{"a", "b", "c", "d"}
			for _, name := range names {
				h.queue(router.QueueSpec{Name: name})
				h.bind(router.Binding{Source: "x", Destination: name, Key: "1"})
			}
			where := h.spread(100, names, func(i int) *message.Message {
				m := numbered(0)
				m.Body, m.Head = fmt.Append(nil, i), c.head(i)
				return m
			})
			used := map[string]bool{}
			for i := range 100 {
				used[where[fmt.Sprint(i)]] = true
				if where[fmt.Sprint(i)] != where[fmt.Sprint(i%10)] {
					t.Fatalf("%d went to %s, %d to %s", i, where[fmt.Sprint(i)], i%10, where[fmt.Sprint(i%10)])
				}
			}
			if len(used) < 2 {
				t.Error("everything went to one queue")
			}
		})
	}
}

func TestInvalidHashExchangesAreRefused(t *testing.T) {
	one := func(name, value string) message.Headers {
		return message.AppendStringField(message.Headers(nil), name, value)
	}
	h := newHouse(t)
	for _, c := range []struct {
		arguments message.Headers
		reason    string
	}{
		{slices.Concat(one("hash-header", "a"), one("hash-property", "message_id")), "hash-header and hash-property are mutually exclusive"},
		{one("hash-property", "app_id"), "Unsupported property: app_id"},
		{one("hash-header", ""), "hash-header must name a header"},
	} {
		_, err := h.DeclareExchange(router.ExchangeSpec{Name: "x", Kind: router.ConsistentHash, Arguments: c.arguments})
		var e *router.Error
		if !errors.As(err, &e) || e.Err != router.ErrInvalid || e.Reason != c.reason {
			t.Errorf("%v, want %s", err, c.reason)
		}
	}
	h.exchange(router.ExchangeSpec{Name: "x", Kind: router.ConsistentHash})
	h.queue(router.QueueSpec{Name: "q"})
	for key, reason := range map[string]string{
		"a": `The binding key must be an integer: "a"`, "0": "The binding key must be greater than 0", "": `The binding key must be an integer: ""`,
	} {
		_, err := h.Bind(router.Binding{Source: "x", Destination: "q", Key: key}, 0)
		var e *router.Error
		if !errors.As(err, &e) || e.Err != router.ErrInvalid || e.Reason != reason {
			t.Errorf("%q: %v, want %s", key, err, reason)
		}
	}
}
