package topology

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// at is a text in line n of a file.
func at(n int, value string) Text {
	return Text{Where{"r.yaml", n, 1}, value}
}

// words stands for the parser of a protocol: a queue when the text begins with "q/", else a key of the topic exchange.
func words(s string) (Address, error) {
	if name, isQueue := strings.CutPrefix(s, "q/"); isQueue {
		return Address{Queue: name}, nil
	}
	if s == "" {
		return Address{}, errors.New("it names nothing")
	}
	return Address{Exchange: router.TopicExchange, Key: s, NoDollar: strings.HasPrefix(s, "*")}, nil
}

func compile(s Spec) ([]Change, error) {
	return Compile(s, map[string]ParseAddress{"test": words})
}

func TestObjectsCarryWhatAmqpClientsWouldDeclare(t *testing.T) {
	ttl := 1500 * time.Millisecond
	changes, err := compile(Spec{
		Queues: []Queue{{
			Name: at(1, "readings"), MaxLength: queue.AtMost(10), MaxBytes: queue.AtMost(20), Overflow: queue.RefuseDeadLetter, DeliveryLimit: queue.AtMost(3),
			TTL: &ttl, Expires: time.Hour, MaxPriority: 9, SingleActive: true,
			DeadLetter: &DeadLetter{Exchange: at(1, "orders"), Key: "dead"},
		}},
		Exchanges: []Exchange{{Name: at(2, "orders"), Kind: router.Direct, Internal: true, Alternate: at(2, "amq.fanout")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != 2 || changes[0].Exchange == nil || changes[1].Queue == nil {
		t.Fatalf("got %+v, want an exchange, then a queue", changes)
	}
	x, q := changes[0].Exchange, changes[1].Queue
	if !x.Durable || !x.Internal || x.Owner != router.File || x.Alternate != "amq.fanout" {
		t.Errorf("exchange %+v", x)
	}
	if !q.Durable || q.Owner != router.File || q.MaxLength != queue.AtMost(10) || q.MaxBytes != queue.AtMost(20) || q.Overflow != queue.RefuseDeadLetter ||
		!q.HasTTL || q.TTL != 1500 || q.Expires != 3_600_000 || q.MaxPriority != 9 || !q.SingleActive ||
		q.MaxAttempts != queue.AtMost(3) || !q.DeadLetter || q.DeadLetterExchange != "orders" || q.DeadLetterKey != "dead" {
		t.Errorf("queue %+v", q)
	}
	want := map[string]string{
		"x-max-length": "10", "x-max-length-bytes": "20", "x-overflow": "reject-publish-dlx", "x-delivery-limit": "3",
		"x-dead-letter-exchange": "orders", "x-dead-letter-routing-key": "dead",
		"x-message-ttl": "1500", "x-expires": "3600000", "x-max-priority": "9", "x-single-active-consumer": "true",
	}
	got := map[string]string{}
	for name, v := range q.Arguments.All() {
		got[name] = v.Text()
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("arguments %v, want %v", got, want)
	}
}

func TestRoutesBecomeBindings(t *testing.T) {
	file := router.Binding{Owner: router.File}
	bind := func(change func(*router.Binding)) router.Binding {
		b := file
		change(&b)
		return b
	}
	for _, test := range []struct {
		name, from, to string
		want           router.Binding
	}{
		{"topic to queue", "test:a.b", "queue:readings", bind(func(b *router.Binding) {
			b.Source, b.Key, b.Destination = router.TopicExchange, "a.b", "readings"
		})},
		{"wildcard first", "test:*.b", "test:q/readings", bind(func(b *router.Binding) {
			b.Source, b.Key, b.Destination, b.NoDollar = router.TopicExchange, "*.b", "readings", true
		})},
		{"topic to exchange keeps the key", "test:a.*", "exchange:orders", bind(func(b *router.Binding) {
			b.Source, b.Key, b.Destination, b.ToExchange = router.TopicExchange, "a.*", "orders", true
		})},
		{"topic to topic", "test:a.*", "test:legacy", bind(func(b *router.Binding) {
			b.Source, b.Key, b.Destination, b.ToExchange, b.NewKey = router.TopicExchange, "a.*", router.TopicExchange, true, "legacy"
		})},
		{"all of a topic exchange", "exchange:orders", "queue:readings", bind(func(b *router.Binding) {
			b.Source, b.Key, b.Destination = "orders", "#", "readings"
		})},
		{"all of a fanout exchange", "exchange:amq.fanout", "queue:readings", bind(func(b *router.Binding) {
			b.Source, b.Destination = "amq.fanout", "readings"
		})},
		{"key of a direct exchange", "exchange:amq.direct/k/1", "queue:readings", bind(func(b *router.Binding) {
			b.Source, b.Key, b.Destination = "amq.direct", "k/1", "readings"
		})},
	} {
		t.Run(test.name, func(t *testing.T) {
			changes, err := compile(Spec{
				Exchanges: []Exchange{{Name: at(1, "orders"), Kind: router.Topic}},
				Queues:    []Queue{{Name: at(2, "readings")}},
				Routes:    []Route{{at(3, test.from), at(3, test.to)}},
			})
			if err != nil || len(changes) != 3 {
				t.Fatalf("%+v, %v", changes, err)
			}
			if got := *changes[2].Binding; !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestBindingsCarryArguments(t *testing.T) {
	changes, err := compile(Spec{
		Queues: []Queue{{Name: at(1, "readings")}},
		Bindings: []Binding{{
			Source: at(2, "amq.headers"), Queue: at(2, "readings"),
			Arguments: []Argument{{at(2, "size"), int64(3)}, {at(2, "big"), true}, {at(2, "colour"), "red"}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var want message.Headers
	want = message.AppendField(want, "big", message.BoolValue(true))
	want = message.AppendStringField(want, "colour", "red")
	want = message.AppendField(want, "size", message.IntValue(3))
	if got := changes[1].Binding.Arguments; string(got) != string(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCompileReportsEveryError(t *testing.T) {
	_, err := compile(Spec{
		Exchanges: []Exchange{
			{Name: at(1, "amq.mine")}, {Name: at(2, "x"), Kind: router.Topic}, {Name: at(3, "x")}, {Name: at(4, "")},
			{Name: at(5, "y"), Alternate: at(5, "nowhere")}, {}, {Name: at(6, "d"), Kind: router.Direct},
		},
		Queues: []Queue{
			{Name: at(10, strings.Repeat("q", 256))}, {Name: at(11, "q")}, {Name: at(12, "q")},
			{Name: at(13, "r"), DeadLetter: &DeadLetter{Exchange: at(13, "")}},
			{Name: at(14, "s"), DeadLetter: &DeadLetter{Exchange: at(14, ""), Key: "nowhere"}},
			{Name: at(15, "t"), DeadLetter: &DeadLetter{Exchange: at(15, "nowhere")}},
		},
		Bindings: []Binding{
			{Where: at(20, "").Where, Source: at(20, "nowhere"), Queue: at(20, "nowhere")},
			{Where: at(21, "").Where, Source: at(21, "x"), Exchange: at(21, "nowhere"), Arguments: []Argument{{at(21, ""), true}}},
			{Where: at(22, "").Where, Source: at(22, "x"), Queue: at(22, "q"), Arguments: []Argument{{at(22, "a"), true}}},
		},
		Routes: []Route{
			{at(30, "nonsense"), at(30, "kafka:x")},
			{at(31, "queue:q"), at(31, "queue:r")},
			{at(32, "test:"), at(32, "exchange:")},
			{at(33, "test:a"), at(33, "queue:nowhere")},
			{at(34, "exchange:d"), at(34, "queue:q")},
			{at(35, "test:a.*"), at(35, "test:b.*")},
			{at(36, "test:a"), at(36, "exchange:amq.topic/a")},
			{at(37, "exchange:x"), at(37, "exchange:x")},
			{at(38, "test:a"), at(38, "queue:q")},
			{at(39, "exchange:amq.topic/a"), at(39, "test:q/q")},
			{at(40, "exchange:x/a"), at(40, "exchange:x")},
			{Text{}, at(41, "queue:q")},
		},
	})
	want := strings.TrimSpace(`
r.yaml:1:1: exchange "amq.mine": names that begin with "amq." belong to the gateway
r.yaml:3:1: exchange "x" is declared twice
r.yaml:4:1: the exchange needs a name
r.yaml:10:1: the name of the queue has 256 bytes; at most 255 are allowed
r.yaml:12:1: queue "q" is declared twice
r.yaml:5:1: exchange "nowhere" is not declared under "exchanges"
r.yaml:13:1: dead-letter needs an exchange, or a key that names a queue, or both
r.yaml:14:1: queue "nowhere" is not declared under "queues"
r.yaml:15:1: exchange "nowhere" is not declared under "exchanges"
r.yaml:20:1: exchange "nowhere" is not declared under "exchanges"
r.yaml:20:1: queue "nowhere" is not declared under "queues"
r.yaml:21:1: the name of an argument has 1 to 255 bytes
r.yaml:21:1: exchange "nowhere" is not declared under "exchanges"
r.yaml:21:1: exchange "x" is not of the kind headers: it does not look at arguments
r.yaml:22:1: exchange "x" is not of the kind headers: it does not look at arguments
r.yaml:30:1: "nonsense": an address is a scheme, a colon and the address in that scheme's words; the schemes are exchange, queue, test
r.yaml:30:1: "kafka:x": an address is a scheme, a colon and the address in that scheme's words; the schemes are exchange, queue, test
r.yaml:31:1: "queue:q" is a queue: a route begins at an exchange or a topic. Moving messages out of a queue is the work of a bridge, which is not supported yet
r.yaml:32:1: "test:": it names nothing
r.yaml:32:1: "exchange:": the exchange has no name; it is written exchange:NAME or exchange:NAME/KEY
r.yaml:33:1: queue "nowhere" is not declared under "queues"
r.yaml:34:1: exchange "d" is of the kind direct: say which key, as in "exchange:d/KEY"
r.yaml:35:1: "test:b.*" has a wildcard: a message can be sent to one address only; leave the key away to keep the message's own
r.yaml:36:1: "exchange:amq.topic/a" is the same address as "test:a": what is sent to one is there for the other without a route
r.yaml:37:1: "exchange:x" is the same address as "exchange:x": what is sent to one is there for the other without a route
r.yaml:39:1: this says the same as line 38
r.yaml:40:1: exchange "x" leads to itself; a target with a key would send the message on under that key
`)
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestRefusedDeadLettersNeedAPlace(t *testing.T) {
	_, err := compile(Spec{Queues: []Queue{{Name: at(3, "q"), Overflow: queue.RefuseDeadLetter}}})
	if err == nil || !strings.Contains(err.Error(), "r.yaml:3:1") || !strings.Contains(err.Error(), "needs dead-letter") {
		t.Errorf("got %v", err)
	}
}
