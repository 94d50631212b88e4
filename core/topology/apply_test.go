package topology

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
	"tridge/core/router"
)

// house is a router over a log in memory, as it is after a start.
type house struct {
	*testing.T
	log    *queuetest.Log
	router *router.Router
}

func newHouse(t *testing.T) *house {
	h := &house{T: t, log: queuetest.NewLog()}
	h.start()
	return h
}

// start makes a new router, as a restart does.
func (h *house) start() {
	h.Helper()
	ids := uint32(0)
	h.router = router.New(router.Config{
		Name: "/", Log: h.log, Slog: slog.New(slog.DiscardHandler),
		NextID: func() (uint32, []queue.Row) { ids++; return ids, nil },
	})
	var rows []queue.Row
	for key, value := range h.log.Rows(queue.TableTopology) {
		rows = append(rows, queue.Row{Table: queue.TableTopology, Key: key, Value: value})
	}
	queues, err := h.router.Restore(rows)
	if err != nil {
		h.Fatal(err)
	}
	for id := range queues {
		ids = max(ids, id)
	}
}

func (h *house) apply(s Spec) (Report, error) {
	h.Helper()
	changes, err := compile(s)
	if err != nil {
		h.Fatal(err)
	}
	return Apply(h.Context(), h.router, changes)
}

// applies wants Apply to succeed and to have done so much.
func (h *house) applies(s Spec, declared, deleted, kept int) {
	h.Helper()
	r, err := h.apply(s)
	if err != nil || r.Declared != declared || r.Deleted != deleted || len(r.Kept) != kept {
		h.Errorf("Apply: %+v, %v; want %d declared, %d deleted, %d kept", r, err, declared, deleted, kept)
	}
}

// refuses wants Apply to fail with that text and to have changed nothing.
func (h *house) refuses(s Spec, text string) {
	h.Helper()
	before := h.names()
	_, err := h.apply(s)
	var located *Error
	if err == nil || !errors.As(err, &located) || !strings.Contains(err.Error(), text) {
		h.Errorf("Apply: %v, want an error with a place that says %q", err, text)
	}
	if after := h.names(); !reflect.DeepEqual(before, after) {
		h.Errorf("was %v, is %v", before, after)
	}
}

// names lists everything that the gateway itself has not made.
func (h *house) names() []string {
	var list []string
	for _, x := range h.router.Exchanges() {
		if x.Owner != router.System {
			list = append(list, "exchange "+x.Name+" "+x.Kind.String())
		}
	}
	for _, q := range h.router.Queues() {
		list = append(list, "queue "+q.Name)
	}
	for _, b := range h.router.Bindings() {
		list = append(list, strings.Join([]string{"binding", b.Source, b.Key, b.Destination, b.NewKey}, " "))
	}
	return list
}

func (h *house) has(want ...string) {
	h.Helper()
	if got := h.names(); !reflect.DeepEqual(got, want) {
		h.Errorf("got  %q\nwant %q", got, want)
	}
}

func (h *house) publish(queueName string) {
	h.Helper()
	m := &message.Message{Key: queueName, Guarantee: message.AtLeastOnce}
	if result, _, err := h.router.NewPublisher(1).Publish(m); err != nil || result != router.Routed {
		h.Fatal(result, err)
	}
}

func spec() Spec {
	return Spec{
		Exchanges: []Exchange{{Name: at(1, "orders"), Kind: router.Topic}},
		Queues:    []Queue{{Name: at(2, "readings"), MaxLength: queue.AtMost(100), DeadLetter: &DeadLetter{Exchange: at(2, "orders")}}, {Name: at(3, "other")}},
		Bindings:  []Binding{{Where: at(4, "").Where, Source: at(4, "orders"), Queue: at(4, "other"), Key: "a.#"}},
		Routes: []Route{
			{at(5, "test:*.b"), at(5, "queue:readings")},
			{at(6, "test:a"), at(6, "test:legacy")},
		},
	}
}

var all = []string{
	"exchange orders topic", "queue other", "queue readings",
	"binding amq.topic *.b readings ", "binding amq.topic a amq.topic legacy", "binding orders a.# other ",
}

func TestApplyTwiceChangesNothing(t *testing.T) {
	h := newHouse(t)
	h.applies(spec(), 6, 0, 0)
	h.has(all...)
	records := h.log.Records()
	h.applies(spec(), 0, 0, 0)
	h.start()
	h.has(all...)
	h.applies(spec(), 0, 0, 0)
	if n := h.log.Records(); n != records {
		t.Errorf("%d records were written for nothing", n-records)
	}
}

func TestApplyChangesOnlyTheDifference(t *testing.T) {
	h := newHouse(t)
	h.applies(spec(), 6, 0, 0)
	h.publish("readings")
	s := spec()
	s.Queues[1].Name = at(3, "another")
	s.Bindings[0].Queue = at(4, "another")
	s.Routes = append(s.Routes[:1], Route{at(7, "test:c"), at(7, "queue:readings")})
	h.start()
	h.publish("readings")
	h.applies(s, 3, 3, 0) // the old binding goes before the queue it leads to
	h.has("exchange orders topic", "queue another", "queue readings",
		"binding amq.topic *.b readings ", "binding amq.topic c readings ", "binding orders a.# another ")
	if q, err := h.router.Queue("readings", 0); err != nil || q.Stats().Ready != 1 {
		t.Errorf("readings lost its message: %v", err)
	}
}

func TestApplyLeavesClientsObjectsAlone(t *testing.T) {
	h := newHouse(t)
	h.applies(spec(), 6, 0, 0)
	if _, err := h.router.DeclareExchange(router.ExchangeSpec{Name: "mine", Durable: true}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.router.DeclareQueue(router.QueueSpec{Name: "mine", Durable: true}, 0); err != nil {
		t.Fatal(err)
	}
	for _, b := range []router.Binding{
		{Source: "mine", Destination: "mine", Key: "k"}, {Source: "amq.topic", Destination: "mine", Key: "k"},
	} {
		if _, err := h.router.Bind(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	h.applies(Spec{}, 0, 6, 0)
	h.has("exchange mine direct", "queue mine", "binding amq.topic k mine ", "binding mine k mine ")
}

func TestFileTakesOverWhatAClientDeclaredAlike(t *testing.T) {
	h := newHouse(t)
	_, _, err := h.router.DeclareQueue(router.QueueSpec{Name: "readings", Durable: true, MaxLength: queue.AtMost(100), DeadLetter: true,
		DeadLetterExchange: "orders",
		// Another order and another width than the file's.
		Arguments: message.AppendField(message.AppendStringField[message.Headers](nil, "x-dead-letter-exchange", "orders"),
			"x-max-length", message.Value{Type: message.TypeInt32, Raw: []byte{0, 0, 0, 100}})}, 0)
	if err != nil {
		t.Fatal(err)
	}
	h.publish("readings")
	h.applies(spec(), 6, 0, 0)
	h.applies(spec(), 0, 0, 0)
	if q := h.router.Queues()[1]; q.Name != "readings" || q.Owner != router.File || q.Ready != 1 {
		t.Errorf("got %+v", q)
	}
}

func TestMessagesOutliveAnEditOfTheFile(t *testing.T) {
	h := newHouse(t)
	h.applies(spec(), 6, 0, 0)
	h.publish("readings")
	t.Run("queue gone from the file is kept", func(t *testing.T) {
		h.applies(Spec{}, 0, 5, 1)
		h.has("queue readings")
	})
	s := spec()
	s.Queues[0].MaxLength = queue.AtMost(200)
	t.Run("queue with other limits is refused", func(t *testing.T) {
		h.refuses(s, `r.yaml:2:1: queue "readings" is there with other properties and holds 1 messages`)
	})
	q, err := h.router.Queue("readings", 0)
	if err != nil {
		t.Fatal(err)
	}
	subscription, err := q.Subscribe(nobody{}, queue.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	taken := make([]queue.Delivery, 1)
	if n, err := subscription.Take(taken); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	t.Run("also while a consumer holds it", func(t *testing.T) {
		h.applies(Spec{}, 0, 0, 1)
		h.refuses(s, "holds 1 messages")
	})
	if _, err := subscription.Settle(taken, queue.Ack); err != nil {
		t.Fatal(err)
	}
	t.Run("empty queue gets its new limits", func(t *testing.T) {
		h.applies(s, 6, 0, 0)
		h.has(all...)
		if q := h.router.Queues()[1]; q.MaxLength != queue.AtMost(200) {
			t.Errorf("got %+v", q)
		}
	})
}

type nobody struct{}

func (nobody) Wake() {}

func TestWhatIsInTheWayIsReportedBeforehand(t *testing.T) {
	h := newHouse(t)
	if _, err := h.router.DeclareExchange(router.ExchangeSpec{Name: "orders", Kind: router.Fanout}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.router.DeclareQueue(router.QueueSpec{Name: "readings"}, 0); err != nil {
		t.Fatal(err)
	}
	h.refuses(spec(), `r.yaml:1:1: exchange "orders" is there already`)
	h.refuses(spec(), `r.yaml:2:1: queue "readings" is there already`)
}

func TestExchangeThatClientsHaveBoundStays(t *testing.T) {
	h := newHouse(t)
	h.applies(spec(), 6, 0, 0)
	if _, _, err := h.router.DeclareQueue(router.QueueSpec{Name: "mine"}, 0); err != nil {
		t.Fatal(err)
	}
	bound := router.Binding{Source: "orders", Destination: "mine", Key: "k"}
	if _, err := h.router.Bind(bound, 0); err != nil {
		t.Fatal(err)
	}
	s := spec()
	s.Exchanges[0].Kind = router.Fanout
	h.refuses(s, `r.yaml:1:1: exchange "orders" is there with other properties and clients have bound it`)
	h.applies(Spec{}, 0, 5, 1)
	h.has("exchange orders topic", "queue mine", "binding orders k mine ")
	if _, err := h.router.Unbind(bound, 0); err != nil {
		t.Fatal(err)
	}
	h.applies(s, 6, 0, 0)
	if names := h.names(); !slices.Contains(names, "exchange orders fanout") {
		t.Errorf("got %q", names)
	}
}

func TestApplyWaitsUntilDeclarationsAreSafe(t *testing.T) {
	h := newHouse(t)
	h.log.Hold()
	changes, err := compile(spec())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Apply(ctx, h.router, changes); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply before the sync: %v", err)
	}
	h = newHouse(t)
	h.log.Hold()
	done := make(chan error, 1)
	go func() {
		_, err := Apply(t.Context(), h.router, changes)
		done <- err
	}()
	deadline := time.After(10 * time.Second)
	for {
		h.log.Sync()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		case <-deadline:
			t.Fatal("Apply does not return after the sync")
		default:
		}
	}
}
