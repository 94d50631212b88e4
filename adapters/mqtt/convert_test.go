package mqtt

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"tridge/core/message"
	"tridge/core/reply"
	"tridge/core/router"
)

// now is when conversions of these tests happen, Unix milliseconds.
const now = 1_700_000_000_000

func newIngress(t *testing.T) *ingress {
	t.Helper()
	return &ingress{clientID: "device", user: "guest", replies: newBook(t), losses: &Losses{}}
}

func newEgress(t *testing.T, version byte) *egress {
	t.Helper()
	return &egress{version: version, replies: newBook(t), losses: &Losses{}}
}

func newBook(t *testing.T) *reply.Book {
	t.Helper()
	book, err := reply.NewBook(make([]byte, reply.SecretSize), "/")
	if err != nil {
		t.Fatal(err)
	}
	return book
}

// received decodes a PUBLISH as a client wrote it.
func received(t *testing.T, version byte, p pub) *publishPacket {
	t.Helper()
	c := client{version: version}
	raw := c.publication(p)
	_, head, err := remainingLength(raw)
	if err != nil {
		t.Fatal(err)
	}
	present, err := defaults().verify(version, raw[0], raw[head:])
	if err != nil {
		t.Fatal(err)
	}
	d := decoder{version: version}
	packet, err := d.decodePublish(raw[0], raw[head:], present)
	if err != nil {
		t.Fatal(err)
	}
	return packet
}

// delivered encodes m for a client and takes the PUBLISH apart.
func delivered(t *testing.T, e *egress, m *message.Message, o outgoing) (pub, bool) {
	t.Helper()
	b, ok := e.appendPublish(nil, m, &o, now)
	if !ok {
		return pub{}, false
	}
	_, head, err := remainingLength(b)
	if err != nil || head == 0 {
		t.Fatalf("fixed header of % X: %v", b, err)
	}
	p := pub{qos: b[0] >> 1 & 3, dup: b[0]&8 != 0, retain: b[0]&1 != 0}
	s := shape{rest: b[head:]}
	p.topic = string(s.text())
	if p.qos > 0 {
		p.id = s.uint16()
	}
	if e.version == version5 {
		p.properties = string(s.take(int(s.varint())))
	}
	p.payload = string(s.rest)
	if s.err != nil {
		t.Fatalf("% X: %v", b, s.err)
	}
	return p, true
}

func TestMQTTToMQTTIsTheSameBytes(t *testing.T) {
	long := strings.Repeat("é", 300)
	tests := map[string]string{
		"nothing":             "",
		"format":              "\x01\x01",
		"format bytes":        "\x01\x00",
		"content type":        textProp(0x03, "text/plain"),
		"empty content type":  textProp(0x03, ""),
		"expiry":              uint32Prop(0x02, 60),
		"expiry at once":      uint32Prop(0x02, 0),
		"correlation":         "\x09\x00\x03\x00\xff\x01",
		"empty correlation":   "\x09\x00\x00",
		"response topic":      textProp(0x08, "reply/me.1"),
		"reply token":         textProp(0x08, "$reply/whatever"),
		"user properties":     props(userProp("a", "1"), userProp("b", ""), userProp("a", "2"), userProp("", "x")),
		"long":                props(userProp(long, long)),
		"names of properties": props(userProp("z", "1"), userProp("priority", "5"), userProp("y", "2"), userProp("type", "t"), userProp("app-id", "a")),
		"twice":               props(userProp("priority", "5"), userProp("priority", "6"), userProp("priority", "5")),
		"not canonical":       props(userProp("priority", "05"), userProp("timestamp", "+7"), userProp("priority", "high")),
		"somebody else":       userProp("user-id", "bob"),
		"itself":              props(userProp("user-id", "guest"), userProp("message-id", "m")),
		"reply-to topic":      userProp("x-reply-to-topic", "old"),
		"types":               props(userProp("n", "5"), userProp("x-gw-types", "n=l"), userProp("s", "x")),
		"types and a forged":  props(userProp("priority", "x"), userProp("x-gw-types", "priority=S"), userProp("priority", "y"), userProp("priority", "5")),
		"types do not fit":    props(userProp("n", "05"), userProp("x-gw-types", "n=l")),
		"types are rubbish":   props(userProp("x-gw-types", "%%%,=,a"), userProp("x-gw-types", "again")),
		"types first":         props(userProp("x-gw-types", "n=l,priority=S"), userProp("n", "5"), userProp("priority", "1")),
		"trace context":       props(userProp("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), userProp("tracestate", "k=v")),
		"mqtt headers":        props(userProp("x-mqtt-retain", "true"), userProp("x-mqtt-qos", "2")),
		"many":                strings.Repeat(userProp("k", "v"), 200),
	}
	for name, properties := range tests {
		t.Run(name, func(t *testing.T) {
			sent := pub{topic: "a.b/c", payload: "\x00\xffbody", qos: qos1, id: 7, properties: properties}
			m := newIngress(t).message(received(t, version5, sent), topicExchange, "a/b.c", now)
			if err := m.Head.Validate(); err != nil {
				t.Fatal(err)
			}
			e := newEgress(t, version5)
			got, ok := delivered(t, e, m, outgoing{id: 7, qos: qos1})
			if !ok || got != sent {
				t.Errorf("got  %+v\nwant %+v", got, sent)
			}
			e.losses.All(func(what Loss, n uint64) { t.Errorf("%v lost %d times", what, n) })
		})
	}
}

func TestForgedStampsAreDropped(t *testing.T) {
	in := newIngress(t)
	properties := props(userProp("a", "1"), userProp("x-gw-client-id", "root"), userProp("priority", "3"), userProp("x-gw-protocol", "amqp"), userProp("x-gw-hops", "9"), userProp("b", "2"))
	m := in.message(received(t, version5, pub{topic: "a", properties: properties}), topicExchange, "a", now)
	got, _ := delivered(t, newEgress(t, version5), m, outgoing{})
	if want := props(userProp("a", "1"), userProp("priority", "3"), userProp("b", "2")); got.properties != want {
		t.Errorf("properties %q, want %q", got.properties, want)
	}
	if n := in.losses.Count(LossForgedStamp); n != 3 {
		t.Errorf("%d counted", n)
	}
	if id, _ := m.Head.String(message.ClientID); id != "device" {
		t.Errorf("client id %q", id)
	}
}

func TestPublishBecomesTheNeutralMessage(t *testing.T) {
	properties := props("\x01\x01", uint32Prop(0x02, 60), textProp(0x03, "text/plain"), textProp(0x08, "r/1.2"), "\x09\x00\x02\xff\x00",
		userProp("content-encoding", "gzip"), userProp("message-id", "m"), userProp("type", "t"), userProp("app-id", "app"),
		userProp("priority", "7"), userProp("timestamp", "1700000000"), userProp("user-id", "guest"), userProp("h", "v"))
	m := newIngress(t).message(received(t, version5, pub{topic: "a", payload: "body", qos: qos2, id: 1, retain: true, properties: properties}), topicExchange, "a", now)
	if m.Exchange != "amq.topic" || m.Key != "a" || string(m.Body) != "body" || m.Time != now || m.Expires != now+60_000 ||
		m.Priority != 7 || m.Guarantee != message.ExactlyOnce || !m.Retain {
		t.Errorf("message %+v", m)
	}
	for p, want := range map[message.Property]string{
		message.Protocol: "mqtt", message.ClientID: "device", message.ContentType: "text/plain", message.ReplyTo: "r/1.2",
		message.ReplyExchange: "amq.topic", message.ReplyKey: "r.1/2", message.CorrelationID: "\xff\x00",
		message.ContentEncoding: "gzip", message.MessageID: "m", message.Type: "t", message.AppID: "app", message.UserID: "guest",
	} {
		if got, _ := m.Head.String(p); got != want {
			t.Errorf("property %d is %q, want %q", p, got, want)
		}
	}
	for p, want := range map[message.Property]int64{message.TextFlag: 1, message.PriorityOctet: 7, message.Timestamp: 1700000000} {
		if got, _ := m.Head.Int(p); got != want {
			t.Errorf("property %d is %d, want %d", p, got, want)
		}
	}
	if h := m.Head.Headers(); !bytes.Equal(h, message.AppendStringField(message.Headers(nil), "h", "v")) {
		t.Errorf("headers %q", h)
	}
}

// foreign is a message with every property, as another protocol's adapter builds it.
func foreign(protocol string) *message.Message {
	var h message.Head
	h = message.AppendString(h, message.Protocol, protocol)
	h = message.AppendString(h, message.ClientID, "conn-1")
	h = message.AppendString(h, message.ContentType, "application/json")
	h = message.AppendString(h, message.ContentEncoding, "gzip")
	h = message.AppendBytes(h, message.CorrelationID, []byte{0, 0xFF})
	h = message.AppendString(h, message.ReplyTo, "answers")
	h = message.AppendString(h, message.MessageID, "m-1")
	h = message.AppendString(h, message.Type, "kind")
	h = message.AppendString(h, message.AppID, "app")
	h = message.AppendString(h, message.UserID, "guest")
	h = message.AppendInt(h, message.Timestamp, 4_294_967_295)
	h = message.AppendInt(h, message.PriorityOctet, 9)
	h = message.AppendInt(h, message.DeliveryMode, 2)
	h = message.AppendString(h, message.Expiration, "500")
	var list message.Headers
	list = message.AppendStringField(list, "text", "väl=ue")
	list = message.AppendField(list, "int", message.IntValue(math.MinInt64))
	list = message.AppendField(list, "bool", message.BoolValue(true))
	list = message.AppendField(list, "table", message.TableValue(message.AppendStringField(message.Headers(nil), "k", "v")))
	list = message.AppendField(list, "array", message.ArrayValue(message.IntValue(1), message.StringValue("two")))
	list = message.AppendField(list, "bytes", message.Value{Type: message.TypeBytes, Raw: []byte{0, 0, 0, 2, 0, 0xFF}})
	list = message.AppendField(list, "void", message.Value{Type: message.TypeVoid})
	list = message.AppendStringField(list, "twice", "1")
	list = message.AppendStringField(list, "twice", "2")
	list = message.AppendStringField(list, "priority", "a header, not the property")
	list = message.AppendField(list, "type", message.IntValue(3))
	list = message.AppendStringField(list, "a,b=c%", "odd name")
	return &message.Message{
		Exchange: topicExchange, Key: "a.b", Head: message.AppendHeaders(h, list), Body: []byte(`{}`),
		Time: now, Expires: now + 500, Priority: 9, Guarantee: message.AtLeastOnce,
	}
}

func TestForeignMessageComesBackWhole(t *testing.T) {
	for _, protocol := range []string{message.ProtocolAMQP, message.ProtocolSTOMP} {
		m := foreign(protocol)
		e := newEgress(t, version5)
		got, ok := delivered(t, e, m, outgoing{id: 1, qos: qos1})
		if !ok {
			t.Fatal("not delivered")
		}
		for _, want := range []string{
			"\x01\x01", uint32Prop(0x02, 1), textProp(0x03, "application/json"), "\x09\x00\x02\x00\xff",
			userProp("x-gw-client-id", "conn-1"), userProp("x-gw-protocol", protocol), userProp("x-reply-to-topic", "answers"),
			userProp("priority", "9"), userProp("int", "-9223372036854775808"), userProp("bool", "true"), userProp("twice", "1") + userProp("twice", "2"),
		} {
			if !strings.Contains(got.properties, want) {
				t.Errorf("%q is missing in %q", want, got.properties)
			}
		}
		e.losses.All(func(what Loss, n uint64) { t.Errorf("%v lost %d times", what, n) })

		// A client publishes again what it got.
		back := newIngress(t).message(received(t, version5, got), topicExchange, m.Key, now)
		for _, p := range []message.Property{message.ContentType, message.ContentEncoding, message.CorrelationID,
			message.MessageID, message.Type, message.AppID, message.UserID, message.Timestamp, message.PriorityOctet} {
			was, _ := m.Head.Bytes(p)
			is, ok := back.Head.Bytes(p)
			if !ok || !bytes.Equal(was, is) {
				t.Errorf("property %d is %q, was %q", p, is, was)
			}
		}
		if x, key, ok := back.Head.Reply(); !ok || x != "" || key != "answers" {
			t.Errorf("reply address %q %q", x, key)
		}
		if original, _ := back.Head.String(message.ReplyOriginal); original != "answers" {
			t.Errorf("original reply address %q", original)
		}
		if is, was := back.Head.Headers(), m.Head.Headers(); !bytes.Equal(is, was) {
			t.Errorf("headers\n%q, were\n%q", is, was)
		}
		if !bytes.Equal(back.Body, m.Body) || back.Priority != 9 {
			t.Errorf("message %+v", back)
		}
	}
}

func TestDeadlineIsCountedDown(t *testing.T) {
	for left, want := range map[int64]uint32{500: 1, 1: 1, -5: 1, 1000: 1, 1001: 2, 60_000: 60, 1 << 50: math.MaxUint32} {
		m := &message.Message{Key: "a", Expires: now + left}
		got, _ := delivered(t, newEgress(t, version5), m, outgoing{})
		if got.properties != uint32Prop(0x02, want) {
			t.Errorf("%d ms left: % X, want %d s", left, got.properties, want)
		}
	}
}

func TestTextIsDecidedByTypeAndBytes(t *testing.T) {
	tests := []struct {
		contentType, body string
		text              bool
	}{
		{"text/plain; charset=utf-8", "ü", true},
		{"application/json", "{}", true},
		{"application/problem+json", "{}", true},
		{"text/plain", "\xff", false},
		{"application/octet-stream", "text", false},
		{"", "text", false},
	}
	for _, tt := range tests {
		h := message.AppendString(nil, message.Protocol, message.ProtocolAMQP)
		h = message.AppendString(h, message.ContentType, tt.contentType)
		got, _ := delivered(t, newEgress(t, version5), &message.Message{Key: "a", Head: h, Body: []byte(tt.body)}, outgoing{})
		if text := strings.HasPrefix(got.properties, "\x01\x01"); text != tt.text {
			t.Errorf("%q with %q: text %v", tt.contentType, tt.body, text)
		}
	}
}

func TestReplyAddressCrosses(t *testing.T) {
	book := newBook(t)
	queueToken, _ := book.Token("", "answers")
	topicToken, _ := book.Token(topicExchange, "r.1/2")
	tests := []struct {
		name          string
		head          message.Head
		topic         string
		lost          bool
		withoutTokens bool
	}{
		{"a queue", message.AppendString(nil, message.ReplyTo, "answers"), "$reply/" + queueToken, false, false},
		{"a topic", message.AppendString(message.AppendString(nil, message.ReplyExchange, topicExchange), message.ReplyKey, "r.1/2"), "r/1.2", false, false},
		{"a topic behind a token", message.AppendString(nil, message.ReplyTo, router.ReplyPrefix+topicToken), "r/1.2", false, false},
		{"no tokens", message.AppendString(nil, message.ReplyTo, "answers"), "", true, true},
		{"too long for a token", message.AppendString(nil, message.ReplyTo, strings.Repeat("q", 250)), "", true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEgress(t, version5)
			if tt.withoutTokens {
				e.replies = nil
			}
			got, _ := delivered(t, e, &message.Message{Key: "a", Head: tt.head}, outgoing{})
			if tt.topic != "" && !strings.Contains(got.properties, textProp(0x08, tt.topic)) {
				t.Errorf("%q is not in %q", tt.topic, got.properties)
			}
			if lost := e.losses.Count(LossReplyTo) == 1; lost != tt.lost {
				t.Errorf("lost %v", lost)
			}
		})
	}
}

func TestOldClientsLossesAreCounted(t *testing.T) {
	e := newEgress(t, version311)
	got, ok := delivered(t, e, foreign(message.ProtocolAMQP), outgoing{})
	if !ok || got != (pub{topic: "a/b", payload: "{}"}) {
		t.Errorf("got %+v", got)
	}
	for _, what := range []Loss{LossContentType, LossContentEncoding, LossCorrelation, LossReplyTo, LossMessageID, LossType, LossAppID,
		LossUserID, LossTimestamp, LossPriority, LossExpiry, LossHeaders} {
		if e.losses.Count(what) != 1 {
			t.Errorf("%v counted %d times", what, e.losses.Count(what))
		}
	}
	// What has no properties loses none.
	e = newEgress(t, version311)
	m := newIngress(t).message(received(t, version311, pub{topic: "a", payload: "x"}), topicExchange, "a", now)
	delivered(t, e, m, outgoing{})
	e.losses.All(func(what Loss, n uint64) { t.Errorf("%v lost %d times", what, n) })
}

func TestWhatNoPacketCanHold(t *testing.T) {
	var list message.Headers
	list = message.AppendStringField(list, "bad\xffname", "x")
	list = message.AppendStringField(list, "value", "\xff\x00")
	list = message.AppendStringField(list, "long", strings.Repeat("x", 70_000))
	h := message.AppendString(nil, message.Protocol, message.ProtocolAMQP)
	h = message.AppendString(h, message.MessageID, "\xff")
	tests := []struct {
		name string
		m    message.Message
		want []Loss
		sent bool
	}{
		{"no key", message.Message{}, []Loss{LossEmptyKey}, false},
		{"long key", message.Message{Key: strings.Repeat("k", 65_536)}, []Loss{LossTopicTooLong}, false},
		{"key with wildcards", message.Message{Key: "a.*.#"}, []Loss{LossTopicEncoded}, true},
		{"headers", message.Message{Key: "a", Head: message.AppendHeaders(h, list)}, []Loss{LossHeaderName, LossPropertyText}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEgress(t, version5)
			got, sent := delivered(t, e, &tt.m, outgoing{})
			if sent != tt.sent {
				t.Errorf("sent %v: %+v", sent, got)
			}
			for _, what := range tt.want {
				if e.losses.Count(what) == 0 {
					t.Errorf("%v not counted", what)
				}
			}
			if !sent {
				return
			}
			back := newIngress(t).message(received(t, version5, got), topicExchange, "a", now)
			if v, ok := back.Head.Header("value"); len(tt.m.Head) > 0 {
				if raw, _ := v.Bytes(); !ok || string(raw) != "\xff\x00" {
					t.Errorf("the header with bytes came back as %q", raw)
				}
			}
		})
	}
}

func TestAddressIsParsed(t *testing.T) {
	a, err := ParseAddress("+/v1.2/#")
	if err != nil || a.Exchange != "amq.topic" || a.Key != "*.v1/2.#" || !a.NoDollar || a.Queue != "" {
		t.Errorf("%+v, %v", a, err)
	}
	for _, bad := range []string{"", "a#", "$SYS/x", "$share/g/a", "a\xff", "a\x00", strings.Repeat("a", 70_000)} {
		if a, err := ParseAddress(bad); err == nil {
			t.Errorf("%.20q became %+v", bad, a)
		}
	}
}

func FuzzMQTTToMQTTIsTheSameBytes(f *testing.F) {
	f.Add([]byte(props("\x01\x01", textProp(0x03, "text/plain"), userProp("a", "1"), userProp("priority", "5"), userProp("x-gw-types", "a=l"))))
	f.Add([]byte(props(userProp("type", "x"), userProp("type", "y"), userProp("x-gw-types", "type=S"))))
	f.Add([]byte(props(userProp("n", "1e3"), userProp("x-gw-types", "n=d"), userProp("x-gw-types", ""))))
	f.Fuzz(func(t *testing.T, users []byte) {
		sent := pub{topic: "a", payload: "x", properties: string(users)}
		c := client{version: version5}
		raw := c.publication(sent)
		_, head, err := remainingLength(raw)
		if err != nil || head == 0 {
			return
		}
		present, err := defaults().verify(version5, raw[0], raw[head:])
		if err != nil {
			return
		}
		d := decoder{version: version5}
		p, err := d.decodePublish(raw[0], raw[head:], present)
		if err != nil {
			t.Fatal(err)
		}
		in := newIngress(t)
		m := in.message(p, topicExchange, "a", now)
		if err := m.Head.Validate(); err != nil {
			t.Fatal(err)
		}
		got, ok := delivered(t, newEgress(t, version5), m, outgoing{})
		if !ok {
			t.Fatal("not delivered")
		}
		// The order of properties other than user properties is free, and stamps do not pass: compare the rest.
		if in.losses.Count(LossForgedStamp) > 0 || p.hasExpiry || p.hasAlias {
			return
		}
		if a, b := userPart(t, sent.properties), userPart(t, got.properties); a != b {
			t.Fatalf("user properties %q became %q", a, b)
		}
		if len(sent.properties) != len(got.properties) && p.contentType != "" && p.responseTopic != "" {
			t.Fatalf("properties %q became %q", sent.properties, got.properties)
		}
	})
}

// userPart returns the user properties of a property list.
func userPart(t *testing.T, list string) string {
	t.Helper()
	s := shape{rest: []byte(list)}
	var users string
	for len(s.rest) > 0 {
		start := s.rest
		id := s.octet()
		s.value(rule(id).kind)
		if id == userPropertyID {
			users += string(start[:len(start)-len(s.rest)])
		}
	}
	if s.err != nil {
		t.Fatalf("%q: %v", list, s.err)
	}
	return users
}

func ExampleLosses() {
	var l Losses
	l.add(LossReplyTo)
	l.All(func(what Loss, n uint64) { fmt.Println(what, n) })
	// Output: reply-to 1
}
