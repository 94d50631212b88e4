package router_test

import (
	"errors"
	"slices"
	"testing"

	"tridge/core/message"
	"tridge/core/router"
)

func colored(key, color string) *message.Message {
	return &message.Message{Exchange: router.TopicExchange, Key: key, Body: []byte(color), Guarantee: message.AtLeastOnce,
		Head: message.AppendStringField(message.BeginHeaders(nil), "color", color)}
}

func TestBindingWithASelectorTakesWhatMatches(t *testing.T) {
	h := newHouse(t)
	red := h.queue(router.QueueSpec{Name: "red", Durable: true})
	h.queue(router.QueueSpec{Name: "all", Durable: true})
	h.bind(router.Binding{Source: router.TopicExchange, Destination: "red", Key: "a.#", Selector: "color = 'red'"})
	for range 2 { // also from the route cache
		if got := h.publish(colored("a.b", "blue")); got != router.Unroutable {
			t.Errorf("blue: %v", got)
		}
		if h.log.Living() != 0 {
			t.Error("what does not match is in the log")
		}
	}
	h.bind(router.Binding{Source: router.TopicExchange, Destination: "all", Key: "a.b"})
	for _, color := range []string{"red", "blue", "red"} {
		if got := h.publish(colored("a.b", color)); got != router.Routed {
			t.Errorf("%s: %v", color, got)
		}
	}
	if got := red.Stats().Ready; got != 2 {
		t.Errorf("%d messages, want 2", got)
	}
	if got := h.BindingsOf("red"); len(got) != 1 || got[0].Selector != "color = 'red'" {
		t.Errorf("%+v", got)
	}
}

func TestTwoSelectorsAreTwoBindingsAndSurviveARestart(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "q", Durable: true})
	b := router.Binding{Source: router.TopicExchange, Destination: "q", Key: "a", Selector: "color = 'red'"}
	h.bind(b)
	b.Selector = "color = 'blue'"
	h.bind(b)
	for _, color := range []string{"red", "green", "blue"} {
		h.publish(colored("a", color))
	}
	again := open(t, h.log)
	if err := h.log.Replay(&restoring{house: again}); err != nil {
		t.Fatal(err)
	}
	for _, color := range []string{"red", "green", "blue"} {
		again.publish(colored("a", color))
	}
	if _, err := again.Unbind(b, 0); err != nil {
		t.Fatal(err)
	}
	again.publish(colored("a", "blue"))
	var got []string
	for _, m := range again.messages("q") {
		got = append(got, string(m.Body))
	}
	if want := []string{"red", "blue", "red", "blue"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBadSelectorOfABindingIsRefused(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "q"})
	_, err := h.Bind(router.Binding{Source: router.TopicExchange, Destination: "q", Key: "a", Selector: "color ="}, 0)
	var e *router.Error
	if !errors.As(err, &e) || e.Err != router.ErrInvalid || e.Reason != "selector: character 8: found the end, want a name, a value or a parenthesis" {
		t.Errorf("%v", err)
	}
}

func TestBindingSkipsItsOwnMessages(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "q"})
	h.bind(router.Binding{Source: router.TopicExchange, Destination: "q", Key: "a", NotFrom: 7})
	for _, origin := range []uint64{7, 8, 7} {
		m := colored("a", "red")
		m.Origin = origin
		if got := h.publish(m); (got == router.Routed) != (origin == 8) {
			t.Errorf("from %d: %v", origin, got)
		}
	}
}
