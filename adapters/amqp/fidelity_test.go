package amqp

import (
	"strings"
	"testing"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
)

// TestHeadersComeBackAsTheyWereFromAMQPToAMQP is about headers that mean something to the gateway: what it reads from
// them is for other protocols, an AMQP consumer gets the table as it was published.
func TestHeadersComeBackAsTheyWereFromAMQPToAMQP(t *testing.T) {
	text := func(pairs ...string) (h message.Headers) {
		for i := 0; i < len(pairs); i += 2 {
			h = message.AppendStringField(h, pairs[i], pairs[i+1])
		}
		return h
	}
	for _, c := range []struct {
		name string
		in   message.Headers
		want message.Headers
	}{
		{"a topic that is not the key", text("x-mqtt-topic", strings.Repeat("a/", 200), "z", "1"), nil},
		{"a quality of service", append(message.AppendField(message.Headers{}, "x-mqtt-qos", message.IntValue(2)), text("z", "1")...), nil},
		{"duplicates that fit no header", message.AppendField(message.Headers{}, "x-gw-duplicates", message.ArrayValue(message.StringValue("x"))), nil},
		{"types", text("x-gw-types", "n=I", "n", "5"), nil},
		{"retain in the middle", append(append(text("a", "1"), message.AppendField(message.Headers{}, "x-mqtt-retain", message.BoolValue(true))...), text("b", "2")...), nil},
		{"a reply address of before", text("x-reply-to-topic", "a/b", "z", "1"), nil},
		{"stamps are not a client's to set", text("x-gw-protocol", "mqtt", "x-mqtt-topic", "a/b", "x-gw-client-id", "me"), text("x-mqtt-topic", "a/b")},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := ingress{losses: new(Losses)}
			m := &message.Message{Key: "q", Time: 1}
			p := &wire.BasicProperties{Flags: wire.FlagHeaders | wire.FlagDeliveryMode, DeliveryMode: 2, Headers: c.in}
			if _, err := in.accept(m, nil, p); err != nil {
				t.Fatal(err)
			}
			if c.want == nil {
				c.want = c.in
			}
			e := egress{losses: new(Losses)}
			if out, _ := e.render(m, 1); string(out.Headers) != string(c.want) {
				t.Errorf("headers\nin   %q\nout  %q\nwant %q", c.in, out.Headers, c.want)
			}
		})
	}
}
