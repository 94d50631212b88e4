package integration

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// typedHeaders are headers that text cannot show without a hint.
var typedHeaders = []field{
	{"int", int32(-7)}, {"long", int64(1) << 40}, {"flag", true}, {"ratio", 0.1}, {"nothing", nil},
	{"when", time.Unix(4_291_747_200, 0).UTC()}, // in 2106: beyond 32 bits with a sign
	{"octets", []byte{0, 0xff, 'x'}},
}

// nestedHeaders are those that become JSON in text.
var nestedHeaders = []field{
	{"list", []any{"a", int32(2), amqp.Table{"deep": true}}},
	{"table", amqp.Table{"nested": amqp.Table{"key": "value"}, "empty": ""}},
}

// TestBodiesArriveUnchanged covers the sizes and the octets that break framings.
func TestBodiesArriveUnchanged(t *testing.T) {
	g := shared(t)
	bodies := map[string][]byte{
		"one octet":        {0},
		"NUL and newlines": []byte("\x00\n\r\n\x00MESSAGE\n\n\x00"),
		"not UTF-8":        {0xff, 0xfe, 0xc3, 0x28},
		"one frame more":   bytes.Repeat([]byte("0123456789abcdef"), 1<<13+1),
		"a megabyte":       bytes.Repeat([]byte{0xa5, 0, '\n', 7}, 1<<18),
		"empty":            {},
	}
	for _, from := range []kind{amqp091, stomp12, mqtt5} {
		for _, to := range []kind{amqp091, stomp12, mqtt5} {
			t.Run(string(from)+" to "+string(to), func(t *testing.T) {
				key := name("bodies")
				out, in := newConsumer(t, g, to, key), newPublisher(t, g, from)
				for what, body := range bodies {
					in.publish(t, publication{key: key, body: body})
					if got := out.receive(t).body; !bytes.Equal(got, body) {
						t.Errorf("%s: %d octets arrived of %d, or others", what, len(got), len(body))
					}
				}
			})
		}
	}
}

// TestBinaryCorrelationIsText: what is not text reaches other protocols as base64 and comes back as it was.
func TestBinaryCorrelationIsText(t *testing.T) {
	g := shared(t)
	const raw = "\xff\x00\x01correlation\xfe"
	encoded := "b64:" + base64.StdEncoding.EncodeToString([]byte(raw))
	for _, c := range []struct {
		abroad kind
		want   string
	}{{amqp091, encoded}, {stomp12, encoded}, {stomp11, encoded}, {mqtt5, raw}} {
		t.Run(string(c.abroad), func(t *testing.T) {
			there, back := name("there"), name("back")
			abroad, home := newConsumer(t, g, c.abroad, there), newConsumer(t, g, mqtt5, back)
			newPublisher(t, g, mqtt5).publish(t, publication{key: there, body: []byte("?"), correlation: raw})
			if got := abroad.receive(t).fields["correlation"]; got != c.want {
				t.Errorf("correlation %q, want %q", got, c.want)
			}
			abroad.forward(t, back)
			if got := home.receive(t).fields["correlation"]; got != raw {
				t.Errorf("it came back as %q, want %q", got, raw)
			}
		})
	}
}

// TestTopicsAndKeysAreTheSameThing: dots and slashes change places, so that every topic comes back (conversions.md,
// section 1).
func TestTopicsAndKeysAreTheSameThing(t *testing.T) {
	g := shared(t)
	for _, c := range []struct{ name, topic, key string }{
		{"dots in a topic", "v1.2/temp", "v1/2.temp"},
		{"empty levels", "/a//b/", ".a..b."},
		{"not ASCII", "wärme/°C", "wärme.°C"},
		{"blanks", "a b/c", "a b.c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			suffix := name("x")
			key, topic := c.key+"."+suffix, c.topic+"/"+suffix
			toAMQP, toSTOMP, toMQTT := newAMQP(t, g), newSTOMP(t, g, stomp12), newMQTT5(t, g, name("client"))
			toAMQP.subscribe(t, "#."+suffix)
			toSTOMP.subscribe(t, "/topic/%23."+suffix)
			toMQTT.subscribe(t, topic, 1)
			for _, in := range []publisher{newAMQP(t, g), newMQTT3(t, g, name("client"))} {
				in.publish(t, publication{key: key, body: []byte("x")})
				if got := toAMQP.receive(t).address; got != topicExchange+" "+key {
					t.Errorf("AMQP was shown %q, want %q", got, key)
				}
				if got := toMQTT.receive(t).address; got != topic {
					t.Errorf("MQTT was shown %q, want %q", got, topic)
				}
				destination := toSTOMP.receive(t).address
				if strings.ContainsAny(strings.TrimPrefix(destination, "/topic/"), "/") {
					t.Errorf("STOMP was shown %q", destination)
				}
				// The destination is an address: what is sent there arrives like the first.
				if err := toSTOMP.send(destination, "", []byte("y"), nil); err != nil {
					t.Fatal(err)
				}
				if got := toMQTT.receive(t).address; got != topic {
					t.Errorf("a SEND to %q reached %q, want %q", destination, got, topic)
				}
				toAMQP.receive(t)
				toSTOMP.receive(t)
			}
		})
	}
}

// TestQueuesAreSharedByAMQPAndSTOMP: a queue is the same queue by either protocol's words.
func TestQueuesAreSharedByAMQPAndSTOMP(t *testing.T) {
	g := shared(t)
	queue := name("orders")
	a := newAMQP(t, g)
	a.declare(t, queue)
	s := newSTOMP(t, g, stomp12)
	if err := s.send("/queue/"+queue, "text/plain", []byte("from STOMP"), []field{{"persistent", "true"}}); err != nil {
		t.Fatal(err)
	}
	a.consume(t, queue)
	if got := a.receive(t); string(got.body) != "from STOMP" || got.address != " "+queue {
		t.Errorf("AMQP got %q at %q", got.body, got.address)
	}
	if err := a.channel.Cancel(a.last.ConsumerTag, false); err != nil {
		t.Fatal(err)
	}
	s.subscribe(t, "/queue/"+queue)
	if err := a.send("", queue, amqp.Publishing{Body: []byte("from AMQP"), DeliveryMode: amqp.Persistent}); err != nil {
		t.Fatal(err)
	}
	if got := s.receive(t); string(got.body) != "from AMQP" || got.address != "/queue/"+queue {
		t.Errorf("STOMP got %q at %q", got.body, got.address)
	}
}

// TestHeaderOctetsAreEscapedByVersion: what would end a header line never does, and comes out as it went in.
func TestHeaderOctetsAreEscapedByVersion(t *testing.T) {
	g := shared(t)
	for _, c := range []struct {
		version kind
		value   string
	}{{stomp11, "a:b\\c\nd"}, {stomp12, "a:b\\c\nd\re"}} {
		for _, other := range []kind{amqp091, mqtt5} {
			t.Run(string(c.version)+" and "+string(other), func(t *testing.T) {
				there, back := name("there"), name("back")
				abroad, home := newConsumer(t, g, other, there), newConsumer(t, g, c.version, back)
				newPublisher(t, g, c.version).publish(t, publication{key: there, body: []byte("x"), headers: []field{{"line", c.value}}})
				if got := strings.TrimPrefix(abroad.receive(t).fields["header line"], "string "); got != c.value {
					t.Errorf("%s was shown %q", other, got)
				}
				abroad.forward(t, back)
				if got := home.receive(t).fields["header line"]; got != c.value {
					t.Errorf("it came back as %q", got)
				}
			})
		}
	}
}

// TestDuplicateHeadersSurvive: MQTT user properties may repeat; AMQP's table cannot, and carries them beside it.
func TestDuplicateHeadersSurvive(t *testing.T) {
	g := shared(t)
	there, back := name("there"), name("back")
	abroad, home := newConsumer(t, g, amqp091, there), newMQTT5(t, g, name("client"))
	home.subscribe(t, topicOf(back), 1)
	newPublisher(t, g, mqtt5).publish(t, publication{key: there, body: []byte("x"),
		headers: []field{{"tag", "first"}, {"other", "one"}, {"tag", "second"}}})
	got := abroad.receive(t)
	if got.fields["header tag"] != "string second" {
		t.Errorf("AMQP was shown %q: the last value wins", got.fields["header tag"])
	}
	abroad.forward(t, back)
	home.receive(t)
	var list []string
	for _, p := range home.last.Properties.User {
		if p.Key == "tag" || p.Key == "other" {
			list = append(list, p.Key+"="+p.Value)
		}
	}
	if got := strings.Join(list, " "); got != "tag=first other=one tag=second" {
		t.Errorf("came back as %s", got)
	}
}

// TestStampsCannotBeForged: what the gateway says about a message no client can say.
func TestStampsCannotBeForged(t *testing.T) {
	g := shared(t)
	for _, from := range []kind{amqp091, stomp12, mqtt5} {
		t.Run(string(from), func(t *testing.T) {
			key := name("forged")
			to := amqp091
			if from == amqp091 {
				to = stomp12
			}
			out := newConsumer(t, g, to, key)
			newPublisher(t, g, from).publish(t, publication{key: key, body: []byte("x"),
				headers: []field{{"x-gw-protocol", "carrier pigeon"}, {"x-gw-client-id", "root"}, {"x-gw-hops", "3"}}})
			got := out.receive(t).fields
			if got["x-gw-protocol"] != from.protocol() || got["x-gw-client-id"] == "root" || got["x-gw-hops"] != "" {
				t.Errorf("the consumer was shown %v", got)
			}
		})
	}
}
