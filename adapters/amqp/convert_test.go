package amqp

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
)

const accepted = 1_700_000_000_000 // Unix milliseconds

func testIngress() *ingress {
	return &ingress{user: "guest", replies: &fakeReplies{}, losses: &Losses{}}
}

func testEgress() *egress { return &egress{replies: &fakeReplies{}, losses: &Losses{}} }

func encoded(p *wire.BasicProperties) string { return string(p.Append(nil)) }

func fields(parts ...message.Headers) message.Headers { return bytes.Join(toBytes(parts), nil) }

func toBytes(parts []message.Headers) [][]byte {
	list := make([][]byte, len(parts))
	for i, p := range parts {
		list[i] = p
	}
	return list
}

func field(name string, v message.Value) message.Headers {
	return message.AppendField(message.Headers{}, name, v)
}

// everyType is a table with a field of each type.
func everyType() message.Headers {
	nested := fields(text("in", "side"), field("list", message.ArrayValue(message.IntValue(1), message.StringValue("two"))))
	return fields(
		field("t", message.BoolValue(true)), field("b", message.Value{Type: 'b', Raw: []byte{0xff}}), field("B", message.Value{Type: 'B', Raw: []byte{200}}),
		field("s", message.Value{Type: 's', Raw: []byte{1, 2}}), field("U", message.Value{Type: 'U', Raw: []byte{1, 2}}), field("u", message.Value{Type: 'u', Raw: []byte{1, 2}}),
		field("I", message.Value{Type: 'I', Raw: []byte{1, 2, 3, 4}}), field("i", message.Value{Type: 'i', Raw: []byte{1, 2, 3, 4}}),
		field("l", message.IntValue(-1)), field("L", message.Value{Type: 'L', Raw: make([]byte, 8)}), field("f", message.Value{Type: 'f', Raw: []byte{1, 2, 3, 4}}),
		field("d", message.Value{Type: 'd', Raw: make([]byte, 8)}), field("D", message.Value{Type: 'D', Raw: []byte{2, 0, 0, 1, 0}}), text("S", "text"),
		field("x", message.Value{Type: 'x', Raw: []byte{0, 0, 0, 1, 0xff}}), field("A", message.ArrayValue()), field("T", message.Value{Type: 'T', Raw: make([]byte, 8)}),
		message.AppendTableField(message.Headers{}, "F", nested), field("V", message.Value{Type: 'V'}), text("t", "a name twice"),
	)
}

// TestAMQPToAMQPIsTheSameBytes is the promise that a RabbitMQ application notices nothing.
func TestAMQPToAMQPIsTheSameBytes(t *testing.T) {
	long := strings.Repeat("y", 255)
	for _, tc := range []struct {
		name string
		p    wire.BasicProperties
	}{
		{"nothing", wire.BasicProperties{}},
		{"everything", wire.BasicProperties{Flags: 0xfffc, ContentType: "a", ContentEncoding: "b", Headers: everyType(), DeliveryMode: 2, Priority: 9,
			CorrelationID: "c", ReplyTo: "d", Expiration: "60000", MessageID: "f", Timestamp: 1 << 40, Type: "g", UserID: "guest", AppID: "i", ClusterID: "j"}},
		{"everything empty", wire.BasicProperties{Flags: 0xfffc &^ (wire.FlagUserID | wire.FlagExpiration), Headers: message.Headers{}}},
		{"everything long", wire.BasicProperties{Flags: 0xfffc &^ (wire.FlagUserID | wire.FlagExpiration), ContentType: long, ContentEncoding: long,
			Headers: text(long, strings.Repeat("z", 70000)), CorrelationID: long, ReplyTo: long, MessageID: long, Type: long, AppID: long, ClusterID: long}},
		{"odd octets", wire.BasicProperties{Flags: wire.FlagDeliveryMode | wire.FlagPriority, DeliveryMode: 7, Priority: 255}},
		{"not UTF-8", wire.BasicProperties{Flags: wire.FlagCorrelationID | wire.FlagContentType, CorrelationID: "\xff\x00\xfe", ContentType: "\xff"}},
		{"expiration text", wire.BasicProperties{Flags: wire.FlagExpiration, Expiration: "0060000"}},
		{"a correlation id like ours", wire.BasicProperties{Flags: wire.FlagCorrelationID, CorrelationID: "b64:text"}},
		{"retain", wire.BasicProperties{Flags: wire.FlagHeaders, Headers: fields(text("a", "b"), field("x-mqtt-retain", message.BoolValue(true)))}},
		{"no retain", wire.BasicProperties{Flags: wire.FlagHeaders, Headers: field("x-mqtt-retain", message.BoolValue(false))}},
		{"headers of the same names", wire.BasicProperties{Flags: wire.FlagHeaders, Headers: fields(text("x-mqtt-qos", "two"), field("x-mqtt-topic", message.IntValue(1)))}},
		{"moved reply address", wire.BasicProperties{Flags: wire.FlagHeaders | wire.FlagReplyTo, ReplyTo: "amq.gw.reply.amq.topic|k", Headers: text("x-reply-to-topic", "a/b")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &message.Message{Time: accepted, Key: "k"}
			if _, err := testIngress().accept(m, nil, &tc.p); err != nil {
				t.Fatal(err)
			}
			if err := m.Head.Validate(); err != nil {
				t.Fatal(err)
			}
			got, key := testEgress().render(m, accepted+1000)
			if encoded(got) != encoded(&tc.p) || key != "k" {
				t.Fatalf("\n got %q\nwant %q", encoded(got), encoded(&tc.p))
			}
		})
	}
}

func TestAccept(t *testing.T) {
	for _, tc := range []struct {
		name string
		p    wire.BasicProperties
		want func(m *message.Message) bool
	}{
		{"transient", wire.BasicProperties{}, func(m *message.Message) bool { return m.Guarantee == message.AtMostOnce && m.Expires == 0 }},
		{"persistent", durable, func(m *message.Message) bool { return m.Guarantee == message.AtLeastOnce }},
		{"priority", wire.BasicProperties{Flags: wire.FlagPriority, Priority: 4}, func(m *message.Message) bool { return m.Priority == 4 }},
		{"expiration", wire.BasicProperties{Flags: wire.FlagExpiration, Expiration: "500"}, func(m *message.Message) bool { return m.Expires == accepted+500 }},
		{"expiration at once", wire.BasicProperties{Flags: wire.FlagExpiration, Expiration: "0"}, func(m *message.Message) bool { return m.Expires == accepted }},
		{"expiration without end", wire.BasicProperties{Flags: wire.FlagExpiration, Expiration: "18446744073709551615"}, func(m *message.Message) bool { return m.Expires > accepted }},
		{"stamp", wire.BasicProperties{}, func(m *message.Message) bool {
			protocol, _ := m.Head.String(message.Protocol)
			return protocol == message.ProtocolAMQP
		}},
		{"stamps of clients", wire.BasicProperties{Flags: wire.FlagHeaders, Headers: fields(text("x-gw-client-id", "me"), text("x-gw-protocol", "mqtt"), text("x-gw-hops", "1"), text("kept", ""))},
			func(m *message.Message) bool { return bytes.Equal(m.Head.Headers(), text("kept", "")) }},
		{"types", wire.BasicProperties{Flags: wire.FlagHeaders, Headers: fields(text("n", "-7"), text("x-gw-types", "n=I"))},
			func(m *message.Message) bool {
				v, _ := m.Head.Header("n")
				n, _ := v.Int()
				return v.Type == message.TypeInt32 && n == -7 && len(m.Head.Headers()) == 7
			}},
		{"correlation that is not text", wire.BasicProperties{Flags: wire.FlagCorrelationID, CorrelationID: "b64:/wD+"}, func(m *message.Message) bool {
			v, _ := m.Head.Bytes(message.CorrelationID)
			return string(v) == "\xff\x00\xfe"
		}},
		{"reply address of another protocol", wire.BasicProperties{Flags: wire.FlagReplyTo, ReplyTo: "amq.gw.reply.amq.topic|a.b"}, func(m *message.Message) bool {
			exchange, key, _ := m.Head.Reply()
			return exchange == "amq.topic" && key == "a.b"
		}},
		{"reply address of our own", wire.BasicProperties{Flags: wire.FlagReplyTo, ReplyTo: "q"}, func(m *message.Message) bool {
			exchange, key, ok := m.Head.Reply()
			return ok && exchange == "" && key == "q"
		}},
		{"retain", wire.BasicProperties{Flags: wire.FlagHeaders, Headers: field("x-mqtt-retain", message.BoolValue(true))}, func(m *message.Message) bool { return m.Retain }},
		{"exactly once", wire.BasicProperties{Flags: wire.FlagHeaders | wire.FlagDeliveryMode, DeliveryMode: 2, Headers: field("x-mqtt-qos", message.IntValue(2))},
			func(m *message.Message) bool { return m.Guarantee == message.ExactlyOnce && len(m.Head.Headers()) == 0 }},
		{"exactly once, but transient", wire.BasicProperties{Flags: wire.FlagHeaders, Headers: field("x-mqtt-qos", message.IntValue(2))},
			func(m *message.Message) bool { return m.Guarantee == message.AtMostOnce && len(m.Head.Headers()) > 0 }},
		{"text flag", wire.BasicProperties{Flags: wire.FlagHeaders, Headers: field("x-mqtt-payload-format", message.IntValue(1))}, func(m *message.Message) bool {
			n, ok := m.Head.Int(message.TextFlag)
			return ok && n == 1
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &message.Message{Time: accepted}
			if _, err := testIngress().accept(m, nil, &tc.p); err != nil {
				t.Fatal(err)
			}
			if err := m.Head.Validate(); err != nil || !tc.want(m) {
				t.Fatalf("got %+v, %v", m, err)
			}
		})
	}
}

func TestFurtherRoutingKeys(t *testing.T) {
	keys := message.ArrayValue(message.StringValue("a"), message.IntValue(7), message.StringValue("b"))
	p := wire.BasicProperties{Flags: wire.FlagHeaders, Headers: slices.Concat(field("CC", keys), field("BCC", keys), text("h", "v"))}
	in := testIngress()
	m := &message.Message{}
	if _, err := in.accept(m, nil, &p); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(in.also, []string{"a", "b", "a", "b"}) {
		t.Errorf("further keys %q", in.also)
	}
	got, _ := testEgress().render(m, 0)
	if want := slices.Concat(field("CC", keys), text("h", "v")); string(got.Headers) != string(want) {
		t.Errorf("consumers see %q, want %q", got.Headers, want)
	}
	if _, err := in.accept(m, nil, &wire.BasicProperties{}); err != nil || in.also != nil {
		t.Errorf("the next message goes to %q as well, %v", in.also, err)
	}
}

func TestExpiration(t *testing.T) {
	for text, want := range map[string]string{
		"0": "", "60000": "", "+5": "", "-0": "", "4294967295000": "",
		"99999999999999999999": "{value_too_large,99999999999999999999}",
		"-1":                   "{value_negative,-1}", "soon": "no_integer", "": "no_integer", " 10": "no_integer", "--1": "no_integer",
		"10s": `{leftover_string,"s"}`, "1.5": `{leftover_string,".5"}`,
	} {
		if _, wrong := readExpiration(text); wrong != want {
			t.Errorf("%q: %s, want %s", text, wrong, want)
		}
	}
}

// foreignMessage is one with every property that another protocol can set.
func foreignMessage(protocol string) *message.Message {
	var h message.Head
	h = message.AppendString(h, message.ContentType, "text/plain")
	h = message.AppendBytes(h, message.CorrelationID, []byte("\xff\x00"))
	h = message.AppendString(h, message.ReplyTo, "replies/device1")
	h = message.AppendString(h, message.ReplyExchange, "amq.topic")
	h = message.AppendString(h, message.ReplyKey, "replies.device1")
	h = message.AppendString(h, message.MessageID, strings.Repeat("m", 256))
	h = message.AppendInt(h, message.Timestamp, 1_700_000_000)
	h = message.AppendInt(h, message.TextFlag, 1)
	h = message.AppendInt(h, message.PriorityOctet, 3)
	h = message.AppendString(h, message.Protocol, protocol)
	h = message.AppendString(h, message.ClientID, "device1")
	h = message.BeginHeaders(h)
	h = message.AppendStringField(h, "a", "1")
	h = message.AppendStringField(h, "b", "2")
	h = message.AppendStringField(h, "a", "3")
	return &message.Message{
		Exchange: "amq.topic", Key: "sensors.device1", Head: h, Time: accepted, Expires: accepted + 5000, Priority: 3,
		Guarantee: message.ExactlyOnce, Retain: true,
	}
}

func TestForeignMessageCarriesEverything(t *testing.T) {
	p, key := testEgress().render(foreignMessage(message.ProtocolMQTT), accepted+1500)
	want := wire.BasicProperties{
		Flags: wire.FlagContentType | wire.FlagHeaders | wire.FlagDeliveryMode | wire.FlagPriority | wire.FlagCorrelationID |
			wire.FlagReplyTo | wire.FlagExpiration | wire.FlagTimestamp,
		ContentType: "text/plain", DeliveryMode: persistent, Priority: 3, CorrelationID: "b64:/wA=",
		ReplyTo: "amq.gw.reply.amq.topic|replies.device1", Expiration: "3500", Timestamp: 1_700_000_000, Headers: p.Headers,
	}
	if encoded(p) != encoded(&want) || key != "sensors.device1" {
		t.Errorf("\n got %+v\nwant %+v", p, want)
	}
	for name, text := range map[string]string{
		"a": "3", "b": "2", "x-gw-client-id": "device1", "x-gw-protocol": "mqtt", "x-reply-to-topic": "replies/device1",
		"x-gw-message-id": strings.Repeat("m", 256), "x-mqtt-retain": "true", "x-mqtt-qos": "2", "x-mqtt-payload-format": "1",
	} {
		if v, ok := p.Headers.Get(name); !ok || v.Text() != text {
			t.Errorf("header %s is %q, want %q", name, v.Text(), text)
		}
	}
	if err := p.Headers.ValidateTable(); err != nil {
		t.Error(err)
	}
	seen := map[string]bool{}
	for name := range p.Headers.All() {
		if seen[name] {
			t.Errorf("%q is twice in the table", name)
		}
		seen[name] = true
	}
}

// TestForeignMessageComesBackWhole publishes over AMQP what an AMQP consumer was given and compares with the original.
func TestForeignMessageComesBackWhole(t *testing.T) {
	original := foreignMessage(message.ProtocolMQTT)
	p, key := testEgress().render(original, accepted)
	back := &message.Message{Time: accepted, Exchange: original.Exchange, Key: key}
	if _, err := testIngress().accept(back, nil, p); err != nil {
		t.Fatal(err)
	}
	if back.Guarantee != original.Guarantee || back.Retain != original.Retain || back.Priority != original.Priority || back.Expires != original.Expires {
		t.Errorf("got %+v", back)
	}
	for _, property := range []message.Property{message.ContentType, message.CorrelationID, message.ReplyExchange, message.ReplyKey,
		message.MessageID, message.Timestamp, message.TextFlag, message.PriorityOctet} {
		want, _ := original.Head.Bytes(property)
		if got, ok := back.Head.Bytes(property); !ok || !bytes.Equal(got, want) {
			t.Errorf("property %d is %q, want %q", property, got, want)
		}
	}
	if got, _ := back.Head.String(message.ReplyOriginal); got != "replies/device1" {
		t.Errorf("original reply address %q", got)
	}
	if !bytes.Equal(back.Head.Headers(), original.Head.Headers()) {
		t.Errorf("headers\n got %q\nwant %q", back.Head.Headers(), original.Head.Headers())
	}
}

func TestLongKeyComesBackWhole(t *testing.T) {
	long := "a." + strings.Repeat("level/x.", 60)
	m := &message.Message{Key: long, Head: message.AppendString(nil, message.Protocol, message.ProtocolMQTT)}
	p, key := testEgress().render(m, accepted)
	if len(key) != 255 || !strings.HasPrefix(long, key[:232]) || key[232] != '~' {
		t.Errorf("got %q", key)
	}
	if v, _ := p.Headers.Get("x-mqtt-topic"); v.Text() != swap(long) {
		t.Errorf("got %q", v.Text())
	}
	back := &message.Message{Key: key}
	if _, err := testIngress().accept(back, nil, p); err != nil || back.Key != long {
		t.Errorf("got %q, %v", back.Key, err)
	}
	other := &message.Message{Key: "elsewhere"}
	if _, err := testIngress().accept(other, nil, p); err != nil || other.Key != "elsewhere" {
		t.Errorf("got %q, %v", other.Key, err)
	}
}

func TestSwapIsItsOwnInverse(t *testing.T) {
	for key, topic := range map[string]string{"a.b": "a/b", "v1/2.temp": "v1.2/temp", "*.x+y": "+/x*y", "\xff.": "\xff/"} {
		if swap(key) != topic || swap(topic) != key {
			t.Errorf("%q: %q, %q", key, swap(key), swap(topic))
		}
	}
}

func TestWhatCannotBeCarriedIsCounted(t *testing.T) {
	e := testEgress()
	var h message.Head
	h = message.AppendString(h, message.ReplyTo, "long")
	h = message.AppendString(h, message.ReplyExchange, "amq.topic")
	h = message.AppendString(h, message.ReplyKey, strings.Repeat("k", 300))
	h = message.BeginHeaders(h)
	h = message.AppendStringField(h, strings.Repeat("n", 256), "value")
	h = message.AppendStringField(h, "kept", "value")
	p, _ := e.render(&message.Message{Head: h}, accepted)
	if p.Flags&wire.FlagReplyTo != 0 {
		t.Errorf("reply-to %q", p.ReplyTo)
	}
	if _, ok := p.Headers.Get("kept"); !ok || p.Headers.ValidateTable() != nil {
		t.Errorf("headers %q", p.Headers)
	}
	counted := map[Loss]uint64{}
	e.losses.All(func(what Loss, count uint64) { counted[what] = count })
	if len(counted) != 2 || counted[LossReplyTo] != 1 || counted[LossHeaderName] != 1 {
		t.Errorf("counted %v", counted)
	}
}

func TestChangedTableIsNotOverwrittenByItsDuplicates(t *testing.T) {
	list := message.ArrayValue(message.TableValue(text("a", "1")), message.TableValue(text("a", "2")))
	changed := fields(text("a", "new"), text("b", "x"))
	if got := withDuplicates(changed, list); !bytes.Equal(got, changed) {
		t.Errorf("got %q", got)
	}
	same := fields(text("a", "2"), text("b", "x"))
	if got, want := withDuplicates(same, list), fields(text("a", "1"), text("a", "2"), text("b", "x")); !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzConvert(f *testing.F) {
	f.Add(uint16(0xfffc), "text", []byte(everyType()), "k")
	f.Add(uint16(wire.FlagHeaders), "", []byte(fields(text("x-gw-types", "a=I"), text("a", "1"), text("x-mqtt-topic", strings.Repeat("t", 300)))), "k")
	f.Add(uint16(wire.FlagHeaders|wire.FlagCorrelationID), "b64:/w==", []byte(field("x-gw-duplicates", message.ArrayValue(message.TableValue(text("a", "1"))))), "")
	f.Fuzz(func(t *testing.T, flags uint16, word string, table []byte, key string) {
		if len(word) > maxShortString || len(key) > maxShortString || message.Headers(table).ValidateTable() != nil {
			return
		}
		p := wire.BasicProperties{Flags: flags &^ (3 | wire.FlagUserID | wire.FlagExpiration), ContentType: word, Headers: table, DeliveryMode: 2,
			CorrelationID: word, ReplyTo: word, MessageID: word, Type: word, AppID: word}
		m := &message.Message{Key: key, Time: accepted}
		if _, err := testIngress().accept(m, nil, &p); err != nil {
			return
		}
		if err := m.Head.Validate(); err != nil {
			t.Fatal(err)
		}
		e := testEgress()
		for _, protocol := range []string{message.ProtocolAMQP, message.ProtocolMQTT} {
			head := message.AppendString(nil, message.Protocol, protocol)
			m.Head = append(head, m.Head...)
			rendered, shortened := e.render(m, accepted)
			if len(shortened) > maxShortString {
				t.Fatalf("key of %d bytes", len(shortened))
			}
			var again wire.BasicProperties
			if err := again.Decode(rendered.Append(nil)); err != nil {
				t.Fatalf("rendered for %s: %v", protocol, err)
			}
		}
	})
}

func TestLongCorrelationComesBackWhole(t *testing.T) {
	long := bytes.Repeat([]byte{0xfe, 'x'}, 200)
	head := message.AppendString(nil, message.Protocol, message.ProtocolMQTT)
	p, _ := testEgress().render(&message.Message{Head: message.AppendBytes(head, message.CorrelationID, long)}, accepted)
	if p.Flags&wire.FlagCorrelationID != 0 {
		t.Errorf("correlation-id %q", p.CorrelationID)
	}
	back := &message.Message{}
	if _, err := testIngress().accept(back, nil, p); err != nil {
		t.Fatal(err)
	}
	if got, _ := back.Head.Bytes(message.CorrelationID); !bytes.Equal(got, long) {
		t.Errorf("got %q", got)
	}
	again, _ := testEgress().render(back, accepted)
	if v, ok := again.Headers.Get("x-gw-correlation-id"); !ok || v.Type != message.TypeBytes {
		t.Errorf("AMQP to AMQP lost it: %+v", again)
	}
}
