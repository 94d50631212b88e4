package router_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
	"tridge/core/router"
)

type waker struct{}

func (waker) Wake() {}

// house is a router over a log in memory.
type house struct {
	*router.Router
	t   *testing.T
	log *queuetest.Log
	pub *router.Publisher
}

func newHouse(t *testing.T) *house {
	t.Helper()
	return open(t, queuetest.NewLog())
}

func open(t *testing.T, log *queuetest.Log) *house {
	t.Helper()
	id := uint32(len(log.Rows(queue.TableTopology))) * 100
	r := router.New(router.Config{Name: "/", Log: log, Slog: slog.New(slog.DiscardHandler), NextID: func() (uint32, []queue.Row) {
		id++
		return id, nil
	}})
	return &house{Router: r, t: t, log: log, pub: r.NewPublisher(r.NewOrigin())}
}

func (h *house) exchange(s router.ExchangeSpec) {
	h.t.Helper()
	if _, err := h.DeclareExchange(s); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) queue(s router.QueueSpec) *queue.Local {
	h.t.Helper()
	q, _, err := h.DeclareQueue(s, s.Exclusive)
	if err != nil {
		h.t.Fatal(err)
	}
	return q
}

func (h *house) bind(b router.Binding) {
	h.t.Helper()
	if _, err := h.Bind(b, 0); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) publish(m *message.Message) router.Result {
	h.t.Helper()
	result, _, err := h.pub.Publish(m)
	if err != nil {
		h.t.Fatal(err)
	}
	return result
}

// drain takes and acknowledges everything a queue has and returns exchange/key/body of each.
func (h *house) drain(name string) (list []string) {
	h.t.Helper()
	for _, m := range h.messages(name) {
		list = append(list, m.Exchange+"/"+m.Key+"/"+string(m.Body))
	}
	return list
}

func (h *house) messages(name string) (list []*message.Message) {
	h.t.Helper()
	q, err := h.Queue(name, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := q.Subscribe(waker{}, queue.SubscribeOptions{Poll: true})
	if err != nil {
		h.t.Fatal(err)
	}
	for {
		ds := make([]queue.Delivery, 100)
		n, err := s.Take(ds)
		if err != nil {
			h.t.Fatal(err)
		}
		if n == 0 {
			return list
		}
		for _, d := range ds[:n] {
			list = append(list, d.Message)
		}
		if _, err := s.Settle(ds[:n], queue.Ack); err != nil {
			h.t.Fatal(err)
		}
	}
}

func text(exchange, key, body string) *message.Message {
	return &message.Message{Exchange: exchange, Key: key, Body: []byte(body), Guarantee: message.AtLeastOnce}
}

func TestTopicPatterns(t *testing.T) {
	h := newHouse(t)
	patterns := []string{"a.b", "a.*", "*.b", "#", "a.#", "#.b", "a.#.b", "*", "*.*", "#.#", "a.*.b", "a..b", "", "$SYS.#"}
	for i, p := range patterns {
		name := fmt.Sprint("q", i)
		h.queue(router.QueueSpec{Name: name})
		h.bind(router.Binding{Source: router.TopicExchange, Destination: name, Key: p})
	}
	for _, c := range []struct {
		key  string
		want []string
	}{
		{"a.b", []string{"a.b", "a.*", "*.b", "#", "a.#", "#.b", "a.#.b", "*.*", "#.#"}},
		{"a", []string{"#", "a.#", "*", "#.#"}},
		{"b", []string{"#", "#.b", "*", "#.#"}},
		{"a.x.b", []string{"#", "a.#", "#.b", "a.#.b", "#.#", "a.*.b"}},
		{"a..b", []string{"#", "a.#", "#.b", "a.#.b", "#.#", "a.*.b", "a..b"}},
		{"", []string{"#", "#.#", ""}},
		{"$SYS.load", []string{"#", "*.*", "#.#", "$SYS.#"}},
		{"a.*", []string{"a.*", "#", "a.#", "*.*", "#.#"}}, // a published wildcard is a word like any other
	} {
		for range 2 { // the second time from the cache
			h.publish(text(router.TopicExchange, c.key, "x"))
			var got []string
			for i, p := range patterns {
				if n := len(h.drain(fmt.Sprint("q", i))); n > 1 {
					t.Errorf("key %q: queue of %q got %d copies", c.key, p, n)
				} else if n == 1 {
					got = append(got, p)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("key %q: %q, want %q", c.key, got, c.want)
			}
		}
	}
}

func TestFilterThatBeginsWithAWildcardSkipsDollar(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "q"})
	h.bind(router.Binding{Source: router.TopicExchange, Destination: "q", Key: "#", NoDollar: true})
	if h.publish(text(router.TopicExchange, "$SYS.x", "")) != router.Unroutable {
		t.Error("$SYS.x was routed")
	}
	if h.publish(text(router.TopicExchange, "SYS.x", "")) != router.Routed {
		t.Error("SYS.x was not routed")
	}
}

func TestKinds(t *testing.T) {
	number := message.AppendField(message.Headers(nil), "n", message.IntValue(7))
	both := message.AppendStringField(slices.Clone(number), "s", "x")
	args := func(match string) message.Headers {
		return message.AppendStringField(slices.Clone(both), "x-match", match)
	}
	x := message.AppendStringField(message.Headers(nil), "x-h", "y")
	withX := func(match string) message.Headers { return append(args(match), x...) }
	head := func(h message.Headers) message.Head { return message.AppendHeaders(nil, h) }
	for _, c := range []struct {
		name    string
		kind    router.Kind
		binding router.Binding
		m       message.Message
		want    router.Result
	}{
		{"direct equal", router.Direct, router.Binding{Key: "k"}, message.Message{Key: "k"}, router.Routed},
		{"direct other", router.Direct, router.Binding{Key: "k"}, message.Message{Key: "k2"}, router.Unroutable},
		{"direct has no wildcards", router.Direct, router.Binding{Key: "#"}, message.Message{Key: "k"}, router.Unroutable},
		{"fanout", router.Fanout, router.Binding{Key: "k"}, message.Message{Key: "other"}, router.Routed},
		{"headers all", router.Headers, router.Binding{Arguments: args("all")}, message.Message{Head: head(both)}, router.Routed},
		{"headers all but one", router.Headers, router.Binding{Arguments: args("all")}, message.Message{Head: head(number)}, router.Unroutable},
		{"headers any", router.Headers, router.Binding{Arguments: args("any")}, message.Message{Head: head(number)}, router.Routed},
		{"headers none", router.Headers, router.Binding{Arguments: args("any")}, message.Message{}, router.Unroutable},
		{"headers of another type", router.Headers, router.Binding{Arguments: args("all")}, message.Message{Head: head(
			message.AppendStringField(message.AppendStringField(message.Headers(nil), "n", "7"), "s", "x"))}, router.Unroutable},
		{"headers any of none", router.Headers, router.Binding{Arguments: message.AppendStringField(message.Headers(nil), "x-match", "any")},
			message.Message{Head: head(both)}, router.Unroutable},
		{"x- headers do not count", router.Headers, router.Binding{Arguments: withX("any")}, message.Message{Head: head(x)}, router.Unroutable},
		{"x- headers count", router.Headers, router.Binding{Arguments: withX("any-with-x")}, message.Message{Head: head(x)}, router.Routed},
		{"x- headers not asked for", router.Headers, router.Binding{Arguments: withX("all")}, message.Message{Head: head(both)}, router.Routed},
		{"x- headers asked for", router.Headers, router.Binding{Arguments: withX("all-with-x")}, message.Message{Head: head(both)}, router.Unroutable},
		{"headers without arguments", router.Headers, router.Binding{}, message.Message{}, router.Routed},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			h.exchange(router.ExchangeSpec{Name: "x", Kind: c.kind})
			h.queue(router.QueueSpec{Name: "q"})
			c.binding.Source, c.binding.Destination, c.m.Exchange = "x", "q", "x"
			h.bind(c.binding)
			if got := h.publish(&c.m); got != c.want {
				t.Errorf("result %v, want %v", got, c.want)
			}
		})
	}
}

func TestQueueReachedTwiceGetsOneCopy(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "x", Kind: router.Topic})
	for i := range 40 {
		name := fmt.Sprint("q", i)
		h.queue(router.QueueSpec{Name: name, Durable: true})
		h.bind(router.Binding{Source: "x", Destination: name, Key: "#"})
		h.bind(router.Binding{Source: "x", Destination: name, Key: "k"})
	}
	h.publish(text("x", "k", "m"))
	for i := range 40 {
		if got := h.drain(fmt.Sprint("q", i)); len(got) != 1 {
			t.Errorf("q%d got %q", i, got)
		}
	}
	if h.log.Living() != 0 {
		t.Errorf("%d references left in the log", h.log.Living())
	}
}

func TestBindingsBetweenExchangesMayFormACycle(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "a", Kind: router.Fanout})
	h.exchange(router.ExchangeSpec{Name: "b", Kind: router.Fanout})
	h.queue(router.QueueSpec{Name: "q"})
	h.bind(router.Binding{Source: "a", Destination: "b", ToExchange: true})
	h.bind(router.Binding{Source: "b", Destination: "a", ToExchange: true})
	if h.publish(text("a", "k", "early")) != router.Unroutable {
		t.Error("routed to nobody")
	}
	h.bind(router.Binding{Source: "b", Destination: "q"}) // the cached route through a must notice
	h.publish(text("a", "k", "late"))
	if got := h.drain("q"); !slices.Equal(got, []string{"a/k/late"}) {
		t.Errorf("got %q", got)
	}
}

func TestAlternateExchangeGetsTheUnroutable(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "main", Kind: router.Direct, Alternate: "rest"})
	if h.publish(text("main", "k", "before")) != router.Unroutable {
		t.Error("routed through an exchange that is not there")
	}
	h.exchange(router.ExchangeSpec{Name: "rest", Kind: router.Fanout})
	h.queue(router.QueueSpec{Name: "q"})
	h.bind(router.Binding{Source: "rest", Destination: "q"})
	if h.publish(text("main", "k", "after")) != router.Routed {
		t.Error("not routed")
	}
	if got := h.drain("q"); !slices.Equal(got, []string{"main/k/after"}) {
		t.Errorf("got %q", got)
	}
}

// TestAlternateExchangesMayFormAChainOrACycle: what one cannot route the next one tries, each once.
func TestAlternateExchangesMayFormAChainOrACycle(t *testing.T) {
	h := newHouse(t)
	for name, alternate := range map[string]string{"a": "b", "b": "c", "c": "a", "gone": "none"} {
		h.exchange(router.ExchangeSpec{Name: name, Kind: router.Direct, Alternate: alternate})
	}
	h.queue(router.QueueSpec{Name: "q"})
	h.bind(router.Binding{Source: "c", Destination: "q", Key: "k"})
	for _, c := range []struct {
		exchange, key string
		want          router.Result
	}{
		{"a", "k", router.Routed}, {"b", "k", router.Routed}, {"a", "other", router.Unroutable}, {"gone", "k", router.Unroutable},
	} {
		if got := h.publish(text(c.exchange, c.key, c.exchange)); got != c.want {
			t.Errorf("%s/%s: %v, want %v", c.exchange, c.key, got, c.want)
		}
	}
	if got := h.drain("q"); !slices.Equal(got, []string{"a/k/a", "b/k/b"}) {
		t.Errorf("q has %q", got)
	}
	// A binding at the end of the chain moves cached routes from its start.
	h.bind(router.Binding{Source: "c", Destination: "q", Key: "other"})
	if got := h.publish(text("a", "other", "again")); got != router.Routed {
		t.Errorf("after the binding: %v", got)
	}
}

func TestRouteUnderANewKey(t *testing.T) {
	h := newHouse(t)
	for _, name := range []string{"raw", "renamed"} {
		h.queue(router.QueueSpec{Name: name, Durable: true})
	}
	h.bind(router.Binding{Source: router.TopicExchange, Destination: "raw", Key: "sensors.#"})
	h.bind(router.Binding{Source: router.TopicExchange, Destination: "renamed", Key: "legacy.*"})
	h.bind(router.Binding{Source: router.TopicExchange, Destination: router.TopicExchange, ToExchange: true, Key: "sensors.*.temperature", NewKey: "legacy.temperature"})
	records := h.log.Records()
	for range 2 {
		if h.publish(text(router.TopicExchange, "sensors.1.temperature", "21")) != router.Routed {
			t.Fatal("not routed")
		}
	}
	if got := h.log.Records() - records; got != 2 {
		t.Errorf("%d records for two publishes", got)
	}
	if got := h.drain("raw"); !slices.Equal(got, []string{"amq.topic/sensors.1.temperature/21", "amq.topic/sensors.1.temperature/21"}) {
		t.Errorf("raw: %q", got)
	}
	if got := h.drain("renamed"); !slices.Equal(got, []string{"amq.topic/legacy.temperature/21", "amq.topic/legacy.temperature/21"}) {
		t.Errorf("renamed: %q", got)
	}
	if h.log.Living() != 0 {
		t.Errorf("%d references left in the log", h.log.Living())
	}
}

func TestRouteBackToItselfEnds(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "q"})
	h.bind(router.Binding{Source: router.TopicExchange, Destination: router.TopicExchange, ToExchange: true, Key: "#", NewKey: "copy"})
	h.bind(router.Binding{Source: router.TopicExchange, Destination: "q", Key: "copy"})
	h.publish(text(router.TopicExchange, "k", "m"))
	if got := h.drain("q"); !slices.Equal(got, []string{"amq.topic/copy/m"}) {
		t.Errorf("got %q", got)
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "q", Durable: true, Arguments: message.AppendField(message.Headers(nil), "x-max-length", message.IntValue(5))})
	h.exchange(router.ExchangeSpec{Name: "x", Kind: router.Direct})
	h.exchange(router.ExchangeSpec{Name: "inner", Internal: true})
	h.queue(router.QueueSpec{Name: "mine", Exclusive: 7})
	h.queue(router.QueueSpec{Name: "files", Owner: router.File})
	declare := func(s router.QueueSpec, origin uint64) error {
		_, _, err := h.DeclareQueue(s, origin)
		return err
	}
	declareExchange := func(s router.ExchangeSpec) error { _, err := h.DeclareExchange(s); return err }
	bind := func(b router.Binding) error { _, err := h.Bind(b, 0); return err }
	publish := func(m *message.Message) error { _, _, err := h.pub.Publish(m); return err }
	remove := func(name string, c queue.Condition) error {
		_, _, err := h.DeleteQueue(name, 0, c, router.Client)
		return err
	}
	removeExchange := func(name string) error { _, err := h.DeleteExchange(name, true, router.Client); return err }
	for _, c := range []struct {
		name string
		err  error
		want error
		text string
	}{
		{"durable differs", declare(router.QueueSpec{Name: "q"}, 0), router.ErrInequivalent, "durable is true, not false"},
		{"argument missing", declare(router.QueueSpec{Name: "q", Durable: true}, 0), router.ErrInequivalent, "x-max-length is 5, not none"},
		{"kind differs", declareExchange(router.ExchangeSpec{Name: "x", Kind: router.Topic}), router.ErrInequivalent, "type is direct, not topic"},
		{"reserved exchange", declareExchange(router.ExchangeSpec{Name: "amq.new"}), router.ErrReserved, "amq.new"},
		{"invalid name", declare(router.QueueSpec{Name: "\xff"}, 0), router.ErrInvalidName, ""},
		{"exclusive to another", declare(router.QueueSpec{Name: "mine", Exclusive: 8}, 8), router.ErrLocked, "mine"},
		{"bind from nowhere", bind(router.Binding{Source: "no", Destination: "q"}), router.ErrNotFound, `exchange "no"`},
		{"bind to nowhere", bind(router.Binding{Source: "x", Destination: "no"}), router.ErrNotFound, `queue "no"`},
		{"bind the default exchange", bind(router.Binding{Destination: "q"}), router.ErrReserved, ""},
		{"publish to nowhere", publish(text("no", "k", "")), router.ErrNotFound, `exchange "no"`},
		{"publish to an internal exchange", publish(text("inner", "k", "")), router.ErrInternal, "inner"},
		{"delete nothing", remove("no", queue.Condition{}), router.ErrNotFound, `queue "no"`},
		{"delete what the file owns", remove("files", queue.Condition{}), router.ErrReserved, "files"},
		{"delete a predeclared exchange", removeExchange("amq.direct"), router.ErrReserved, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e *router.Error
			if !errors.As(c.err, &e) || !errors.Is(c.err, c.want) || !strings.Contains(c.err.Error(), c.text) {
				t.Errorf("%v, want %v with %q", c.err, c.want, c.text)
			}
		})
	}
}

func TestAutoDeleteAndExclusiveQueuesGo(t *testing.T) {
	h := newHouse(t)
	q := h.queue(router.QueueSpec{Name: "auto", AutoDelete: true})
	s, err := q.Subscribe(waker{}, queue.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := h.Queue("auto", 0); !errors.Is(err, router.ErrNotFound) {
		t.Errorf("auto-delete queue after its last consumer: %v", err)
	}
	h.queue(router.QueueSpec{Name: "mine", Exclusive: 7})
	h.bind2("amq.fanout", "mine", 7)
	h.CloseOwner(7)
	if _, err := h.Queue("mine", 7); !errors.Is(err, router.ErrNotFound) {
		t.Errorf("exclusive queue after its connection: %v", err)
	}
	if n := len(h.Bindings()); n != 0 {
		t.Errorf("%d bindings left", n)
	}
}

func (h *house) bind2(source, destination string, origin uint64) {
	h.t.Helper()
	if _, err := h.Bind(router.Binding{Source: source, Destination: destination}, origin); err != nil {
		h.t.Fatal(err)
	}
}

func TestAutoDeleteExchangeGoesWithItsLastBinding(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "x", Kind: router.Fanout, AutoDelete: true})
	h.queue(router.QueueSpec{Name: "q"})
	h.bind(router.Binding{Source: "x", Destination: "q"})
	if _, err := h.Unbind(router.Binding{Source: "x", Destination: "q"}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Exchange("x"); !errors.Is(err, router.ErrNotFound) {
		t.Errorf("Exchange(x): %v", err)
	}
}

func TestDurableThingsComeBack(t *testing.T) {
	h := newHouse(t)
	h.exchange(router.ExchangeSpec{Name: "x", Kind: router.Topic, Durable: true})
	h.exchange(router.ExchangeSpec{Name: "gone", Kind: router.Topic})
	h.queue(router.QueueSpec{Name: "q", Durable: true, MaxLength: queue.AtMost(9)})
	h.queue(router.QueueSpec{Name: "transient"})
	h.queue(router.QueueSpec{Name: "deleted", Durable: true})
	key := "odd \xff key.#"
	h.bind(router.Binding{Source: "x", Destination: "q", Key: key})
	h.bind(router.Binding{Source: "x", Destination: "deleted", Key: "#"})
	h.bind(router.Binding{Source: "x", Destination: "transient", Key: "#"})
	h.publish(text("x", "odd \xff key.1", "kept"))
	if _, _, err := h.DeleteQueue("deleted", 0, queue.Condition{}, router.Client); err != nil {
		t.Fatal(err)
	}

	again := open(t, h.log)
	rows := &restoring{house: again}
	if err := h.log.Replay(rows); err != nil {
		t.Fatal(err)
	}
	if got := again.drain("q"); !slices.Equal(got, []string{"x/odd \xff key.1/kept"}) {
		t.Errorf("messages after restart: %q", got)
	}
	var names []string
	for _, q := range again.Queues() {
		names = append(names, q.Name)
	}
	if !slices.Equal(names, []string{"q"}) {
		t.Errorf("queues after restart: %q", names)
	}
	if got := again.Bindings(); len(got) != 1 || got[0].Key != key {
		t.Errorf("bindings after restart: %+v", got)
	}
	if _, err := again.Exchange("gone"); err == nil {
		t.Error("a transient exchange came back")
	}
	if again.Queues()[0].MaxLength != queue.AtMost(9) {
		t.Error("the limit is lost")
	}
	if h.log.Living() != 0 {
		t.Errorf("%d references left in the log", h.log.Living())
	}
}

// restoring rebuilds a house as the broker does.
type restoring struct {
	house  *house
	rows   []queue.Row
	queues map[uint32]*queue.Local
}

func (r *restoring) Row(row queue.Row, _ queue.Pos) error {
	r.rows = append(r.rows, row)
	return nil
}

func (r *restoring) Message(at queue.Pos, i queue.Info, ids []uint32) error {
	if r.queues == nil {
		var err error
		if r.queues, err = r.house.Restore(r.rows); err != nil {
			return err
		}
	}
	for _, id := range ids {
		r.queues[id].Restore(queue.Found{At: at, Info: i})
	}
	return nil
}

func TestFullQueueRefusesAndForgets(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "q", Durable: true, MaxLength: queue.AtMost(1), Overflow: queue.Refuse})
	if got := h.publish(text("", "q", "a")); got != router.Routed {
		t.Fatalf("first: %v", got)
	}
	if got := h.publish(text("", "q", "b")); got != router.Refused {
		t.Fatalf("second: %v", got)
	}
	if h.log.Living() != 1 {
		t.Errorf("%d references in the log: a refused message would come back after a restart", h.log.Living())
	}
}

func TestConfirmWaitsForSync(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "q", Durable: true})
	h.log.Hold()
	_, receipt, err := h.pub.Publish(text("", "q", "m"))
	if err != nil {
		t.Fatal(err)
	}
	safe := false
	receipt.Redeem(ticket(func() { safe = true }))
	if safe {
		t.Fatal("safe before the log has synced")
	}
	h.log.Sync()
	if !safe {
		t.Fatal("not told")
	}
}

// TestHostilePatternsDoNotStallTheHost would take hours if a match followed every # to its end.
func TestHostilePatternsDoNotStallTheHost(t *testing.T) {
	h := newHouse(t)
	for i, pattern := range []string{strings.Repeat("#.", 120) + "z", strings.Repeat("#.a.", 60) + "z", strings.Repeat("*.#.", 60) + "z"} {
		name := fmt.Sprint("q", i)
		h.queue(router.QueueSpec{Name: name})
		h.bind(router.Binding{Source: router.TopicExchange, Destination: name, Key: pattern})
	}
	key := strings.Repeat("a.", 200)
	if got := h.publish(text(router.TopicExchange, key+"a", "m")); got != router.Unroutable {
		t.Errorf("result %v", got)
	}
	if got := h.publish(text(router.TopicExchange, key+"z", "m")); got != router.Routed {
		t.Errorf("result %v", got)
	}
	for i := range 3 {
		if n := len(h.drain(fmt.Sprint("q", i))); n != 1 {
			t.Errorf("q%d got %d messages", i, n)
		}
	}
}

func TestSecondDeclarationWaitsForTheFirst(t *testing.T) {
	h := newHouse(t)
	h.log.Hold()
	queueSpec, exchangeSpec := router.QueueSpec{Name: "q", Durable: true}, router.ExchangeSpec{Name: "x", Durable: true}
	binding := router.Binding{Source: "x", Destination: "q"}
	for round := range 2 {
		_, declared, err := h.DeclareQueue(queueSpec, 0)
		if err != nil {
			t.Fatal(err)
		}
		exchange, err := h.DeclareExchange(exchangeSpec)
		if err != nil {
			t.Fatal(err)
		}
		bound, err := h.Bind(binding, 0)
		if err != nil {
			t.Fatal(err)
		}
		for what, receipt := range map[string]confirm.Receipt{"queue": declared, "exchange": exchange, "binding": bound} {
			if receipt.By == nil {
				t.Errorf("round %d: the %s is called safe before the log has synced", round, what)
			}
		}
	}
}
