package router_test

import (
	"errors"
	"slices"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// taken is deliveries that a test has taken from a queue.
func (h *house) taken(name string, n int) (*queue.Subscription, []queue.Delivery) {
	h.t.Helper()
	q, err := h.Queue(name, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := q.Subscribe(waker{}, queue.SubscribeOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	ds := make([]queue.Delivery, n)
	if got, err := s.Take(ds); err != nil || got != n {
		h.t.Fatalf("took %d of %d: %v", got, n, err)
	}
	return s, ds
}

func TestTransactionIsOneRecord(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "dlx", Kind: router.Fanout, Durable: true})
	h.queue(router.QueueSpec{Name: "in", Durable: true, DeadLetter: true, DeadLetterExchange: "dlx"})
	for _, name := range []string{"one", "two", "dead"} {
		h.queue(router.QueueSpec{Name: name, Durable: true})
	}
	h.bind(router.Binding{Source: "dlx", Destination: "dead"})
	for _, body := range []string{"done", "refused", "again"} {
		h.publish(text("", "in", body))
	}
	s, ds := h.taken("in", 3)

	before := h.log.Records()
	var results []router.Result
	_, err := h.pub.Commit(&router.Transaction{
		Messages: []*message.Message{text("", "one", "a"), text("", "two", "b"), text("", "nobody", "c")},
		Ends: []router.End{
			{Subscription: s, Deliveries: ds[:1], How: queue.Ack},
			{Subscription: s, Deliveries: ds[1:2], How: queue.Reject},
			{Subscription: s, Deliveries: ds[2:], How: queue.Requeue},
		},
	}, func(i int, r router.Result) {
		if i != len(results) {
			t.Errorf("told of message %d after %d", i, len(results))
		}
		results = append(results, r)
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := h.log.Records() - before; n != 1 {
		t.Errorf("%d records", n)
	}
	if !slices.Equal(results, []router.Result{router.Routed, router.Routed, router.Unroutable}) {
		t.Errorf("results %v", results)
	}
	s.Close()
	for name, want := range map[string][]string{"one": {"/one/a"}, "two": {"/two/b"}, "dead": {"dlx/in/refused"}, "in": {"/in/again"}} {
		if got := h.drain(name); !slices.Equal(got, want) {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	q, _ := h.Queue("in", 0)
	if got := q.Stats(); got.Unacked != 0 || got.Acked != 2 || got.DeadLettered != 1 {
		t.Errorf("in: %+v", got)
	}
	if n := h.log.Living(); n != 0 {
		t.Errorf("%d references stay in the log", n)
	}
}

func TestRefusedTransactionLeavesEverythingAsItWas(t *testing.T) {
	for _, tc := range []struct {
		name     string
		exchange string
		log      error
		want     error
	}{
		{"an exchange is gone", "gone", nil, router.ErrNotFound},
		{"the log fails", "", errors.New("disk"), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHouse(t)
			h.queue(router.QueueSpec{Name: "in", Durable: true})
			h.queue(router.QueueSpec{Name: "out", Durable: true})
			h.publish(text("", "in", "m"))
			s, ds := h.taken("in", 1)
			h.log.Fail(tc.log)
			_, err := h.pub.Commit(&router.Transaction{
				Messages: []*message.Message{text("", "out", "a"), text(tc.exchange, "out", "b")},
				Ends:     []router.End{{Subscription: s, Deliveries: ds, How: queue.Ack}},
			}, func(int, router.Result) { t.Error("told of a result") })
			var known *router.Error
			if err == nil || tc.want != nil && (!errors.As(err, &known) || known.Err != tc.want) {
				t.Fatalf("Commit: %v", err)
			}
			h.log.Fail(nil)
			if _, err := s.Settle(ds, queue.Requeue); err != nil {
				t.Fatal(err)
			}
			s.Close()
			if in, out := h.drain("in"), h.drain("out"); len(in) != 1 || len(out) != 0 {
				t.Errorf("in %q, out %q", in, out)
			}
		})
	}
}

func TestDeadLettersOfATransactionMayFillTheirQueue(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "in", Durable: true, DeadLetter: true, DeadLetterKey: "small"})
	h.queue(router.QueueSpec{Name: "small", Durable: true, MaxLength: queue.AtMost(1), DeadLetter: true, DeadLetterKey: "last"})
	h.queue(router.QueueSpec{Name: "last", Durable: true})
	for _, body := range []string{"a", "b"} {
		h.publish(text("", "in", body))
	}
	s, ds := h.taken("in", 2)
	_, err := h.pub.Commit(&router.Transaction{Ends: []router.End{{Subscription: s, Deliveries: ds, How: queue.Reject}},
		Messages: []*message.Message{text("", "small", "c")}}, func(int, router.Result) {})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.drain("last"); !slices.Equal(got, []string{"/last/a", "/last/b"}) {
		t.Errorf("last holds %q", got)
	}
	if got := h.drain("small"); !slices.Equal(got, []string{"/small/c"}) {
		t.Errorf("small holds %q", got)
	}
}

func TestTransactionMayDelay(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "x", Kind: router.Fanout, Delayed: true})
	h.queue(router.QueueSpec{Name: "q", Durable: true})
	h.bind(router.Binding{Source: "x", Destination: "q"})
	later := text("x", "k", "later")
	later.Head = message.AppendHeaders(nil, message.AppendField(message.Headers(nil), router.DelayHeader, message.IntValue(60_000)))
	living := h.log.Living()
	if _, err := h.pub.Commit(&router.Transaction{Messages: []*message.Message{text("x", "k", "now"), later}}, func(i int, r router.Result) {
		if r != router.Routed {
			t.Errorf("message %d: %v", i, r)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if n := h.log.Living() - living; n != 2 {
		t.Errorf("%d of 2 messages are in the log", n)
	}
	if got := h.drain("q"); !slices.Equal(got, []string{"x/k/now"}) {
		t.Errorf("q has %q", got)
	}
	later.Head = message.AppendHeaders(nil, message.AppendField(message.Headers(nil), router.DelayHeader, message.IntValue(router.MaxDelay+1)))
	_, err := h.pub.Commit(&router.Transaction{Messages: []*message.Message{later}}, func(int, router.Result) { t.Error("told of a result") })
	var e *router.Error
	if !errors.As(err, &e) || e.Err != router.ErrDelay {
		t.Errorf("a delay without end: %v", err)
	}
}

// TestRenamedMessagesOfATransactionComeOnce: under each of their names, once, also to a queue that gets both, and when one
// of the queues is full; what nobody wants under its own name is routed all the same.
func TestRenamedMessagesOfATransactionComeOnce(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "in", Kind: router.Topic})
	h.exchange(router.ExchangeSpec{Name: "out", Kind: router.Topic})
	h.bind(router.Binding{Source: "in", Destination: "out", ToExchange: true, Key: "#", NewKey: "new"})
	h.queue(router.QueueSpec{Name: "both", Durable: true})
	h.queue(router.QueueSpec{Name: "full", Durable: true, MaxLength: queue.AtMost(1), Overflow: queue.Refuse})
	h.bind(router.Binding{Source: "in", Destination: "both", Key: "old"})
	h.bind(router.Binding{Source: "out", Destination: "both", Key: "new"})
	h.bind(router.Binding{Source: "out", Destination: "full", Key: "new"})
	m := text("in", "old", "a")
	if names, err := h.pub.Check(m, nil); err != nil || names != 2 {
		t.Errorf("%d names, %v", names, err)
	}
	records := h.log.Records()
	var results []router.Result
	_, err := h.pub.Commit(&router.Transaction{Messages: []*message.Message{m, text("in", "other", "b")}}, func(_ int, r router.Result) {
		results = append(results, r)
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(results, []router.Result{router.Routed, router.Refused}) {
		t.Errorf("results %v", results)
	}
	if n := h.log.Records() - records; n > 2 { // the commit, and the end of what the full queue did not take
		t.Errorf("%d records", n)
	}
	if got := h.drain("both"); !slices.Equal(got, []string{"in/old/a", "out/new/a", "out/new/b"}) {
		t.Errorf("both has %q", got)
	}
	if got := h.drain("full"); !slices.Equal(got, []string{"out/new/a"}) {
		t.Errorf("full has %q", got)
	}
	if n := h.log.Living(); n != 0 {
		t.Errorf("%d references stay in the log", n)
	}
}

func TestWholeTransactionIsRefusedWhenAQueueHasNoRoom(t *testing.T) {
	h := newHouse(t)
	small := h.queue(router.QueueSpec{Name: "small", Durable: true, MaxLength: queue.AtMost(2), Overflow: queue.Refuse})
	h.queue(router.QueueSpec{Name: "other", Durable: true})
	h.publish(text("", "other", "in"))
	s, ds := h.taken("other", 1)
	tx := router.Transaction{
		Messages: []*message.Message{text("", "other", "a"), text("", "small", "b"), text("", "small", "c"), text("", "small", "d")},
		Ends:     []router.End{{Subscription: s, Deliveries: ds, How: queue.Ack}},
		Whole:    true,
	}
	before := h.log.Records()
	_, err := h.pub.Commit(&tx, func(int, router.Result) { t.Error("told of a message") })
	var e *router.Error
	if !errors.As(err, &e) || e.Err != router.ErrFull || e.Name != "small" {
		t.Fatalf("%v", err)
	}
	if h.log.Records() != before || small.Stats().Ready != 0 {
		t.Error("something has happened")
	}
	tx.Messages = tx.Messages[:3]
	if _, err := h.pub.Commit(&tx, func(i int, r router.Result) {
		if r != router.Routed {
			t.Errorf("message %d: %v", i, r)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got := h.publish(text("", "small", "e")); got != router.Refused {
		t.Errorf("the limit has gone: %v", got)
	}
	s.Close()
	if got := h.drain("other"); !slices.Equal(got, []string{"/other/a"}) {
		t.Errorf("%q", got)
	}
}

func TestTransactionDelaysItsMessages(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "q", Durable: true})
	if _, err := h.pub.Commit(&router.Transaction{
		Messages: []*message.Message{text("", "q", "later"), text("", "q", "now")}, After: map[int]int64{0: 60_000}, Whole: true,
	}, func(i int, r router.Result) {
		if r != router.Routed {
			t.Errorf("message %d: %v", i, r)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if got := h.drain("q"); !slices.Equal(got, []string{"/q/now"}) {
		t.Errorf("%q", got)
	}
	if _, list := h.Delayed(); list.Len() != 1 {
		t.Errorf("%d wait", list.Len())
	}
}
