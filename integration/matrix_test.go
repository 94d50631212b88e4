package integration

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
)

// property is one row of the table in section 2 of conversions.md.
type property struct {
	name string
	// from tells who can say it, to who can be shown it.
	from, to []kind
	want     string
}

var (
	everybody  = kinds
	properties = []kind{amqp091, stomp10, stomp11, stomp12, mqtt5} // who has properties at all
)

// rows are the rows whose value does not depend on the pair.
var rows = []property{
	{"persistent", everybody, everybody, "true"},
	{"content-type", properties, properties, "application/json"},
	{"content-encoding", properties, properties, "identity"},
	{"correlation", properties, properties, "question-17"},
	{"message-id", properties, properties, "m-1"},
	{"type", properties, properties, "reading"},
	{"app-id", properties, properties, "matrix"},
	{"user-id", properties, properties, "guest"},
	{"timestamp", properties, properties, "1700000000"},
	{"priority", properties, properties, "5"},
	{"expiration", properties, properties, "within the minute"},
	{"header colour", properties, properties, "rouge et noir"},
	{"header unit", properties, properties, "°C / degrees"},
}

// full is a message with every property set. The reply address is in the words of its publisher.
func full(from kind, key string) publication {
	return publication{
		key: key, body: []byte(`{"celsius": 21.5, "place": "Zürich"}`), contentType: "application/json",
		contentEncoding: "identity", correlation: "question-17", messageID: "m-1", subject: "reading",
		application: "matrix", user: "guest", timestamp: 1_700_000_000, priority: 5, expiration: 60, textual: true,
		replyTo: map[string]string{"amqp": "answers", "stomp": "/queue/answers", "mqtt": "answers/here"}[from.protocol()],
		headers: []field{{"colour", "rouge et noir"}, {"unit", "°C / degrees"}},
	}
}

// expect derives what a consumer is shown of full from conversions.md.
func expect(from, to kind, clientID bool) map[string]string {
	want := map[string]string{}
	for _, p := range rows {
		if slices.Contains(p.from, from) && slices.Contains(p.to, to) {
			want[p.name] = p.want
			if strings.HasPrefix(p.name, "header ") && to == amqp091 {
				want[p.name] = "string " + p.want
			}
		}
	}
	if !slices.Contains(properties, to) {
		return want
	}
	foreign := from.protocol() != to.protocol()
	if foreign { // stamps are rendered only on delivery to another protocol (decision 25)
		want["x-gw-protocol"] = from.protocol()
		if clientID {
			want["x-gw-client-id"] = "any"
		}
	}
	if !slices.Contains(properties, from) {
		return want
	}
	// Row "text flag": what the publisher said; towards MQTT else a JSON content type and valid UTF-8.
	if from == mqtt5 || to == mqtt5 {
		want["x-mqtt-payload-format"] = "1"
	}
	// Section 3.
	want["reply-to"] = replyAddress(from, to)
	if foreign {
		want["x-reply-to-topic"] = full(from, "").replyTo
	}
	return want
}

// replyAddress is what a consumer is shown of the reply address in full; a token is written as *.
func replyAddress(from, to kind) string {
	if from.protocol() == to.protocol() {
		return full(from, "").replyTo
	}
	switch to.protocol() {
	case "amqp":
		if from == mqtt5 {
			return "amq.gw.reply.*"
		}
		return "answers"
	case "stomp":
		if from == mqtt5 {
			return "/reply-queue/amq.gw.reply.*"
		}
		return "/reply-queue/answers"
	}
	return "$reply/*"
}

// withoutTokens replaces what no test can know.
func withoutTokens(fields map[string]string) map[string]string {
	fields = maps.Clone(fields)
	for _, prefix := range []string{"amq.gw.reply.", "/reply-queue/amq.gw.reply.", "$reply/"} {
		if rest, ok := strings.CutPrefix(fields["reply-to"], prefix); ok && rest != "" {
			fields["reply-to"] = prefix + "*"
		}
	}
	if fields["x-gw-client-id"] != "" {
		fields["x-gw-client-id"] = "any"
	}
	return fields
}

// addressOf is how a consumer is shown a key of the topic exchange.
func addressOf(k kind, key string) string {
	switch k.protocol() {
	case "amqp":
		return topicExchange + " " + key
	case "stomp":
		return "/topic/" + key
	}
	return topicOf(key)
}

// compareFields reports every difference and not only the first.
func compareFields(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if have, ok := got[name]; !ok {
			t.Errorf("%s: missing, want %q", name, value)
		} else if have != value {
			t.Errorf("%s: %q, want %q", name, have, value)
		}
	}
	for name, value := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %q, want nothing", name, value)
		}
	}
}

// TestEveryProtocolReachesEveryOther sends a persistent message with every property from each kind of client to each
// kind of client and compares what arrives with conversions.md.
func TestEveryProtocolReachesEveryOther(t *testing.T) {
	g := shared(t)
	for _, from := range kinds {
		for _, to := range kinds {
			t.Run(string(from)+" to "+string(to), func(t *testing.T) {
				key := "matrix." + name("pair") + ".reading"
				out := newConsumer(t, g, to, key)
				message := full(from, key)
				newPublisher(t, g, from).publish(t, message)
				got := out.receive(t)
				if !bytes.Equal(got.body, message.body) {
					t.Errorf("body %q, want %q", got.body, message.body)
				}
				if want := addressOf(to, key); got.address != want {
					t.Errorf("address %q, want %q", got.address, want)
				}
				compareFields(t, withoutTokens(got.fields), expect(from, to, from.protocol() == "mqtt"))
			})
		}
	}
}

// roundTrips are the ways there and back between protocols that have properties.
var roundTrips = []struct{ home, abroad kind }{
	{amqp091, stomp12}, {amqp091, stomp10}, {amqp091, mqtt5},
	{stomp12, amqp091}, {stomp12, mqtt5}, {stomp10, amqp091},
	{mqtt5, amqp091}, {mqtt5, stomp11},
}

// TestThereAndBackComesWhole has a program that knows nothing of gateways forward a message as it sees it, and
// compares what comes back with what a consumer of the first protocol is shown directly.
func TestThereAndBackComesWhole(t *testing.T) {
	g := shared(t)
	for _, c := range roundTrips {
		t.Run(string(c.home)+" to "+string(c.abroad), func(t *testing.T) {
			there, back := "there."+name("trip"), "back."+name("trip")
			message := full(c.home, there)
			if c.home == amqp091 {
				message.headers = append(message.headers, typedHeaders...)
				if c.abroad != stomp10 { // go-stomp writes JSON with escapes that 1.0 does not have
					message.headers = append(message.headers, nestedHeaders...)
				}
			}
			direct, forwarder := newConsumer(t, g, c.home, there), newConsumer(t, g, c.abroad, there)
			returned := newConsumer(t, g, c.home, back)
			newPublisher(t, g, c.home).publish(t, message)
			forwarder.receive(t)
			forwarder.forward(t, back)

			want := withoutTokens(direct.receive(t).fields)
			// It came in by the other protocol now, which is stamped; and the reply address has been rewritten.
			want["x-gw-protocol"] = c.abroad.protocol()
			if c.abroad == mqtt5 {
				want["x-gw-client-id"] = "any"
			}
			want["x-reply-to-topic"] = message.replyTo
			if c.home.protocol() == "stomp" { // any queue that another protocol names as reply address
				want["reply-to"] = "/reply-queue/answers"
			}
			if c.abroad == mqtt5 { // what it was shown as an indicator it says itself now
				want["x-mqtt-payload-format"] = "1"
			}
			got := returned.receive(t)
			if !bytes.Equal(got.body, message.body) {
				t.Errorf("body %q, want %q", got.body, message.body)
			}
			compareFields(t, withoutTokens(got.fields), want)
		})
	}
}
