package stomp

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"tridge/adapters/stomp/wire"
	"tridge/core/message"
	"tridge/core/reply"
	"tridge/core/router"
)

// edge is both halves of a connection's conversion.
type edge struct {
	t      *testing.T
	book   *reply.Book
	losses Losses
	in     ingress
	out    egress
}

func newEdge(t *testing.T, v wire.Version) *edge {
	book, err := reply.NewBook(reply.NewSecret(), "/")
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{t: t, book: book}
	e.in = ingress{origin: 7, user: "guest", replies: book, losses: &e.losses,
		tempQueue: func(name string) (string, error) { return "amq.gen-" + name, nil }}
	e.out = egress{appender: wire.Appender{Version: v}, session: "abc", replies: book, losses: &e.losses}
	return e
}

const testTime = 1_700_000_000_000

// message is what a SEND with those headers, "name:value", becomes.
func (e *edge) message(headers ...string) *message.Message {
	e.t.Helper()
	m, err := e.in.message(frame(headers...), destination{kind: toQueue, key: "q"}, testTime)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := m.Head.Validate(); err != nil {
		e.t.Fatalf("head of %v: %v", headers, err)
	}
	return m
}

func frame(headers ...string) *wire.Frame {
	f := &wire.Frame{Command: wire.Send, Body: []byte("body")}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		f.Headers = append(f.Headers, wire.Header{Name: name, Value: value})
	}
	return f
}

// headers is what a subscriber is told of m beside what every MESSAGE says.
func (e *edge) headers(m *message.Message) []string {
	e.t.Helper()
	b := e.out.appendMessage(nil, m, &delivery{subscription: "s", number: 1, sequence: 2, ack: true}, testTime+400)
	r := wire.NewReader(bytes.NewReader(b), wire.Limits{Headers: 1000, HeaderBytes: 1 << 20, Body: 1 << 20})
	r.SetVersion(e.out.appender.Version)
	f, err := r.Next()
	if err != nil {
		e.t.Fatalf("%q: %v", b, err)
	}
	var list []string
	for i, h := range f.Headers {
		switch h.Name {
		case headerSubscription, headerMessageID, headerDestination, "ack", "content-length":
			if first, _ := f.Get(h.Name); first != h.Value || i > 3 && i < len(f.Headers)-1 {
				e.t.Errorf("header %s is not where it belongs: %v", h.Name, f.Headers)
			}
			continue
		}
		list = append(list, strings.Clone(h.Name)+":"+strings.Clone(h.Value))
	}
	return list
}

// foreign is a message of another protocol: properties, then headers.
func foreign(protocol string, properties func(message.Head) message.Head, headers message.Headers) *message.Message {
	head := message.AppendString(nil, message.Protocol, protocol)
	if properties != nil {
		head = properties(head)
	}
	return &message.Message{Exchange: "", Key: "q", Head: message.AppendHeaders(head, headers), Body: []byte("body"), Time: testTime}
}

func TestSTOMPToSTOMPIsTheSame(t *testing.T) {
	tests := []struct {
		name    string
		headers []string
	}{
		{"none", nil},
		{"own headers, order and duplicates", []string{"b:2", "a:1", "b:3", "empty:", "a:1"}},
		{"properties among them", []string{"x:1", "content-type:text/plain", "y:2", "correlation-id:c", "priority:4", "z:3", "type:t"}},
		{"properties only", []string{"persistent:true", "content-encoding:gzip", "app-id:a", "user-id:guest", "timestamp:1"}},
		{"repeated property", []string{"content-type:a", "x:1", "content-type:b"}},
		{"texts that are not canonical", []string{"persistent:false", "persistent:true", "timestamp:1700000000123", "priority:04", "expiration:0060000"}},
		{"texts that do not fit", []string{"priority:high", "timestamp:noon", "persistent:perhaps", "x-mqtt-qos:9", "x-mqtt-retain:x", "x-mqtt-payload-format:7"}},
		{"absolute deadline", []string{"expires:1700000060000"}},
		{"no deadline", []string{"expires:0"}},
		{"deadline beyond time", []string{"expiration:9223372036854775807"}},
		{"what MQTT knows", []string{"x-mqtt-qos:2", "x-mqtt-retain:true", "x-mqtt-payload-format:1"}},
		{"message id", []string{"amqp-message-id:m-1"}},
		{"reply to a queue", []string{"reply-to:/queue/answers"}},
		{"reply to a topic", []string{"reply-to:/topic/a.b"}},
		{"reply to what is no destination", []string{"reply-to:mailto:me"}},
		{"reply with a past", []string{"reply-to:/reply-queue/q", "x-reply-to-topic:a/b"}},
		{"types", []string{"n:42", "flag:true", "x-gw-types:n=I,flag=t", "s:text"}},
		{"types that do not fit", []string{"n:042", "x-gw-types:n=I"}},
		{"types that are nonsense", []string{"n:42", "x-gw-types:,=,n,n=,=I"}},
		{"correlation like binary", []string{"correlation-id:b64:aGVsbG8="}},
		{"binary correlation", []string{"correlation-id:b64:/w=="}},
		{"octets that are escaped", []string{"k:a\nb\rc:d\\e"}},
		{"trace", []string{"traceparent:00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate:a=b"}},
		{"not ASCII", []string{"größe:à"}},
		{"long name", []string{strings.Repeat("n", 300) + ":v"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := newEdge(t, wire.V12)
			if got := e.headers(e.message(test.headers...)); !slices.Equal(got, test.headers) {
				t.Errorf("got  %q\nwant %q", got, test.headers)
			}
			for what, n := range e.losses.All() {
				if n > 0 {
					t.Errorf("lost: %s %d times", what, n)
				}
			}
		})
	}
}

func TestSENDBecomesANeutralMessage(t *testing.T) {
	text := func(p message.Property) func(*message.Message) any {
		return func(m *message.Message) any { v, _ := m.Head.String(p); return v }
	}
	number := func(p message.Property) func(*message.Message) any {
		return func(m *message.Message) any {
			if n, ok := m.Head.Int(p); ok {
				return n
			}
			return nil
		}
	}
	guarantee := func(m *message.Message) any { return m.Guarantee }
	expires := func(m *message.Message) any { return m.Expires }
	typeOf := func(name string) func(*message.Message) any {
		return func(m *message.Message) any { v, _ := m.Head.Header(name); return string(rune(v.Type)) }
	}
	tests := []struct {
		name    string
		headers []string
		what    func(*message.Message) any
		want    any
	}{
		{"protocol", nil, text(message.Protocol), "stomp"},
		{"content type", []string{"content-type:text/plain"}, text(message.ContentType), "text/plain"},
		{"content encoding", []string{"content-encoding:gzip"}, text(message.ContentEncoding), "gzip"},
		{"message id", []string{"message-id:m"}, text(message.MessageID), "m"},
		{"message id as AMQP's", []string{"amqp-message-id:m"}, text(message.MessageID), "m"},
		{"type", []string{"type:t"}, text(message.Type), "t"},
		{"app id", []string{"app-id:a"}, text(message.AppID), "a"},
		{"user id", []string{"user-id:guest"}, text(message.UserID), "guest"},
		{"first of a repeated property", []string{"type:1", "type:2"}, text(message.Type), "1"},
		{"timestamp in seconds", []string{"timestamp:1700000000"}, number(message.Timestamp), int64(1700000000)},
		{"timestamp in milliseconds", []string{"timestamp:1700000000123"}, number(message.Timestamp), int64(1700000000)},
		{"timestamp after 2106", []string{"timestamp:4300000000"}, number(message.Timestamp), int64(4300000000)},
		{"priority", []string{"priority:9"}, number(message.PriorityOctet), int64(9)},
		{"priority out of range", []string{"priority:256"}, number(message.PriorityOctet), nil},
		{"transient", nil, guarantee, message.AtMostOnce},
		{"persistent", []string{"persistent:true"}, guarantee, message.AtLeastOnce},
		{"not persistent", []string{"persistent:false"}, guarantee, message.AtMostOnce},
		{"exactly once", []string{"x-mqtt-qos:2", "persistent:true"}, guarantee, message.ExactlyOnce},
		{"text flag", []string{"x-mqtt-payload-format:1"}, number(message.TextFlag), int64(1)},
		{"retain", []string{"x-mqtt-retain:true"}, func(m *message.Message) any { return m.Retain }, true},
		{"time to live", []string{"expiration:500"}, expires, int64(testTime + 500)},
		{"time to live as written", []string{"expiration:0500"}, text(message.Expiration), "0500"},
		{"absolute deadline", []string{"expires:1700000000100"}, expires, int64(1700000000100)},
		{"earlier of two", []string{"expires:1700000000100", "expiration:500"}, expires, int64(1700000000100)},
		{"beyond time", []string{"expiration:9223372036854775807"}, expires, int64(0)},
		{"correlation", []string{"correlation-id:c"}, text(message.CorrelationID), "c"},
		{"binary correlation", []string{"correlation-id:b64:/wA="}, text(message.CorrelationID), "\xff\x00"},
		{"text that looks like binary", []string{"correlation-id:b64:aGVsbG8="}, text(message.CorrelationID), "b64:aGVsbG8="},
		{"reply address before", []string{"x-reply-to-topic:a/b"}, text(message.ReplyOriginal), "a/b"},
		{"typed header", []string{"n:42", "x-gw-types:n=I"}, typeOf("n"), "I"},
		{"header named like a property", []string{"type:x", "x-gw-types:type=S"}, typeOf("type"), "S"},
		{"control headers are not the message's", []string{"destination:/queue/q", "receipt:1", "content-length:4"},
			func(m *message.Message) any { return len(m.Head.Headers()) }, 0},
		{"stamp of the client's own", []string{"x-gw-client-id:forged"}, text(message.ClientID), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newEdge(t, wire.V12).message(test.headers...)
			if got := test.what(m); got != test.want {
				t.Errorf("got %#v, want %#v", got, test.want)
			}
			if string(m.Body) != "body" || m.Time != testTime || m.Origin != 7 || m.Key != "q" {
				t.Errorf("message %+v", m)
			}
		})
	}
}

func TestBadHeadersAreRefused(t *testing.T) {
	for _, h := range []string{"user-id:root", "expiration:soon", "expiration:-1", "expiration:", "expires:1.5"} {
		e := newEdge(t, wire.V12)
		if _, err := e.in.message(frame(h), destination{}, testTime); err == nil {
			t.Errorf("%s was accepted", h)
		}
	}
}

func TestForgedStampsAreDroppedAndCounted(t *testing.T) {
	e := newEdge(t, wire.V12)
	m := e.message("x-gw-client-id:a", "x:1", "x-gw-protocol:amqp", "x-gw-hops:0")
	if got := e.headers(m); !slices.Equal(got, []string{"x:1"}) || e.losses.Count(LossForgedStamp) != 3 {
		t.Errorf("got %q, %d counted", got, e.losses.Count(LossForgedStamp))
	}
}

func TestForeignMessageBecomesMESSAGE(t *testing.T) {
	var table message.Headers
	table = message.AppendField(table, "n", message.Value{Type: message.TypeInt32, Raw: []byte{0, 0, 0, 42}})
	table = message.AppendField(table, "flag", message.BoolValue(true))
	table = message.AppendStringField(table, "s", "text")
	table = message.AppendStringField(table, "s", "again")
	table = message.AppendStringField(table, "raw", "\xff\x00")
	table = message.AppendStringField(table, "type", "of the application")
	table = message.AppendStringField(table, "destination", "elsewhere")
	tests := []struct {
		name    string
		message *message.Message
		want    []string
	}{
		{"nothing", foreign("amqp", nil, nil), []string{"x-gw-protocol:amqp"}},
		{"all properties", foreign("mqtt", func(h message.Head) message.Head {
			h = message.AppendString(h, message.ClientID, "sensor-1")
			h = message.AppendString(h, message.ContentType, "text/plain")
			h = message.AppendString(h, message.ContentEncoding, "gzip")
			h = message.AppendString(h, message.CorrelationID, "c")
			h = message.AppendString(h, message.MessageID, "m")
			h = message.AppendString(h, message.Type, "t")
			h = message.AppendString(h, message.AppID, "a")
			h = message.AppendString(h, message.UserID, "u")
			h = message.AppendInt(h, message.Timestamp, 4_300_000_000)
			h = message.AppendInt(h, message.PriorityOctet, 0)
			return message.AppendInt(h, message.TextFlag, 1)
		}, nil), []string{
			"content-type:text/plain", "content-encoding:gzip", "amqp-message-id:m", "type:t", "app-id:a", "user-id:u",
			"correlation-id:c", "timestamp:4300000000", "priority:0", "x-mqtt-payload-format:1",
			"x-gw-client-id:sensor-1", "x-gw-protocol:mqtt",
		}},
		{"binary correlation", foreign("mqtt", func(h message.Head) message.Head {
			return message.AppendBytes(h, message.CorrelationID, []byte{0xff})
		}, nil), []string{"correlation-id:b64:/w==", "x-gw-protocol:mqtt"}},
		{"correlation with a NUL", foreign("mqtt", func(h message.Head) message.Head {
			return message.AppendString(h, message.CorrelationID, "a\x00b")
		}, nil), []string{"correlation-id:b64:YQBi", "x-gw-protocol:mqtt"}},
		{"headers", foreign("amqp", nil, table), []string{
			"x-gw-protocol:amqp", "n:42", "flag:true", "s:text", "s:again", `raw:"/wA="`, "type:of the application",
			"x-gw-types:n=I,flag=t,raw=x,type=S",
		}},
		{"property that is not UTF-8", foreign("amqp", func(h message.Head) message.Head {
			return message.AppendString(h, message.AppID, "a\xffb")
		}, nil), []string{"app-id:a\uFFFDb", "x-gw-protocol:amqp"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := newEdge(t, wire.V12).headers(test.message)
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestWhatTheMessageSaysOfItself(t *testing.T) {
	tests := []struct {
		name   string
		change func(*message.Message)
		want   string
	}{
		{"at least once", func(m *message.Message) { m.Guarantee = message.AtLeastOnce }, "persistent:true"},
		{"exactly once", func(m *message.Message) { m.Guarantee = message.ExactlyOnce }, "persistent:true x-mqtt-qos:2"},
		{"retain", func(m *message.Message) { m.Retain = true }, "x-mqtt-retain:true"},
		{"deadline counted down", func(m *message.Message) { m.Expires = testTime + 1000 }, "expiration:600"},
		{"deadline that has just passed", func(m *message.Message) { m.Expires = testTime + 100 }, "expiration:1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := foreign("mqtt", nil, nil)
			test.change(m)
			got := strings.Join(newEdge(t, wire.V12).headers(m), " ")
			if got != test.want+" x-gw-protocol:mqtt" {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestForeignMessageComesBackWhole sends a message out by STOMP and in again, as an application does that forwards
// what it got with its headers.
func TestForeignMessageComesBackWhole(t *testing.T) {
	var nested message.Headers
	nested = message.AppendField(nested, "deep", message.ArrayValue(message.IntValue(-1), message.BoolValue(false), message.StringValue("é")))
	var table message.Headers
	table = message.AppendField(table, "int", message.Value{Type: message.TypeInt8, Raw: []byte{0xfe}})
	table = message.AppendField(table, "void", message.Value{Type: message.TypeVoid})
	table = message.AppendField(table, "decimal", message.Value{Type: message.TypeDecimal, Raw: []byte{2, 0, 0, 1, 0}})
	table = message.AppendField(table, "time", message.Value{Type: message.TypeTimestamp, Raw: []byte{0, 0, 0, 1, 0, 0, 0, 0}})
	table = message.AppendField(table, "double", message.Value{Type: message.TypeDouble, Raw: []byte{0x40, 9, 0x21, 0xfb, 0x54, 0x44, 0x2d, 0x18}})
	table = message.AppendTableField(table, "nested", nested)
	table = message.AppendStringField(table, "text", "a:b\\c\r\nd")
	table = message.AppendStringField(table, "text", "twice")
	table = message.AppendStringField(table, "priority", "of the application")
	table = message.AppendStringField(table, "with,comma=%", "x")
	properties := func(h message.Head) message.Head {
		h = message.AppendString(h, message.ContentType, "application/json")
		h = message.AppendBytes(h, message.CorrelationID, []byte{0, 0xff})
		h = message.AppendString(h, message.MessageID, "m")
		h = message.AppendInt(h, message.Timestamp, 1)
		return message.AppendInt(h, message.PriorityOctet, 255)
	}
	before := foreign("amqp", properties, table)
	before.Guarantee, before.Retain = message.ExactlyOnce, true
	for _, v := range []wire.Version{wire.V12, wire.V11, wire.V10} {
		e := newEdge(t, v)
		after := e.message(e.headers(before)...)
		if after.Guarantee != before.Guarantee || after.Retain != before.Retain {
			t.Errorf("%v: guarantee %d, retain %v", v, after.Guarantee, after.Retain)
		}
		for p, want := range before.Head.All() {
			if got, _ := after.Head.Bytes(p); p != message.Protocol && !bytes.Equal(got, want) {
				t.Errorf("%v: property %d is %q, want %q", v, p, got, want)
			}
		}
		if v == wire.V12 && !bytes.Equal(after.Head.Headers(), before.Head.Headers()) {
			t.Errorf("headers\ngot  %q\nwant %q", after.Head.Headers(), before.Head.Headers())
		}
		if lost := e.losses.Count(LossHeaderOctet); v == wire.V12 && lost != 0 || v != wire.V12 && lost != 1 {
			t.Errorf("%v: %d messages lost octets", v, lost)
		}
	}
}

func TestReplyAddresses(t *testing.T) {
	e := newEdge(t, wire.V12)
	token, _ := e.book.Token(router.TopicExchange, "answers.here")
	gateway := "/reply-queue/" + router.ReplyPrefix + token
	in := []struct {
		name, text    string
		exchange, key string
		ok            bool
		written       string
	}{
		{"queue", "/queue/a%2Fb", "", "a/b", true, "/queue/a%2Fb"},
		{"topic", "/topic/a.b", router.TopicExchange, "a.b", true, "/topic/a.b"},
		{"exchange", "/exchange/x/k", "x", "k", true, "/exchange/x/k"},
		{"temporary queue", "/temp-queue/t", "", "amq.gen-t", true, "/reply-queue/amq.gen-t"},
		{"token", gateway, router.TopicExchange, "answers.here", true, gateway},
		{"unknown token", "/reply-queue/amq.gw.reply.x", "", "amq.gw.reply.x", true, "/reply-queue/amq.gw.reply.x"},
		{"something else", "me", "", "me", true, "me"},
	}
	for _, test := range in {
		t.Run("in/"+test.name, func(t *testing.T) {
			m := e.message("reply-to:" + test.text)
			exchange, key, ok := m.Head.Reply()
			if exchange != test.exchange || key != test.key || ok != test.ok {
				t.Errorf("got %q %q %v", exchange, key, ok)
			}
			if written, _ := m.Head.String(message.ReplyTo); written != test.written {
				t.Errorf("written %q, want %q", written, test.written)
			}
		})
	}
	address := func(written, exchange, key string) func(message.Head) message.Head {
		return func(h message.Head) message.Head {
			h = message.AppendString(h, message.ReplyTo, written)
			if written != key {
				h = message.AppendString(h, message.ReplyExchange, exchange)
				h = message.AppendString(h, message.ReplyKey, key)
			}
			return h
		}
	}
	out := []struct {
		name    string
		message *message.Message
		want    []string
	}{
		{"queue of AMQP", foreign("amqp", address("answers/é", "", "answers/é"), nil),
			[]string{"reply-to:/reply-queue/answers%2F%C3%A9", "x-reply-to-topic:answers/é", "x-gw-protocol:amqp"}},
		{"topic of MQTT", foreign("mqtt", address("answers/here", router.TopicExchange, "answers.here"), nil),
			[]string{"reply-to:" + gateway, "x-reply-to-topic:answers/here", "x-gw-protocol:mqtt"}},
		{"that has wandered before", foreign("amqp", func(h message.Head) message.Head {
			return message.AppendString(address("q", "", "q")(h), message.ReplyOriginal, "a/b")
		}, nil), []string{"reply-to:/reply-queue/q", "x-reply-to-topic:a/b", "x-gw-protocol:amqp"}},
		{"too long for a token", foreign("mqtt", address("x", router.TopicExchange, strings.Repeat("k", 300)), nil),
			[]string{"x-reply-to-topic:x", "x-gw-protocol:mqtt"}},
	}
	for _, test := range out {
		t.Run("out/"+test.name, func(t *testing.T) {
			got := e.headers(test.message)
			if test.name == "too long for a token" {
				if e.losses.Count(LossReplyTo) != 1 {
					t.Error("not counted")
				}
				test.want = test.want[1:]
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestDeadLetterShowsWhatBecameOfIt(t *testing.T) {
	e := newEdge(t, wire.V12)
	m := e.message("x:1", "expiration:5", "reply-to:/queue/a", "n:1", "x-gw-types:n=I")
	var head message.Head
	for p, v := range m.Head.All() {
		if p != message.Expiration {
			head = message.AppendBytes(head, p, v)
		}
	}
	list := append(message.Headers(nil), m.Head.Headers()...)
	list = message.AppendField(list, "x-death", message.ArrayValue())
	dead := *m
	dead.Head, dead.Expires = message.AppendHeaders(head, list), 0
	want := []string{"reply-to:/queue/a", "x:1", "n:1", "x-death:[]", "x-gw-types:n=I,x-death=A"}
	if got := e.headers(&dead); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestNamesOfMESSAGEAreNotOverwritten(t *testing.T) {
	e := newEdge(t, wire.V12)
	var table message.Headers
	for _, name := range []string{"destination", "message-id", "subscription", "ack", "content-length", "redelivered"} {
		table = message.AppendStringField(table, name, "7")
	}
	got := e.headers(foreign("amqp", nil, table))
	if len(got) != 2 || e.losses.Count(LossReservedName) != 6 {
		t.Errorf("got %q, %d counted", got, e.losses.Count(LossReservedName))
	}
}

func TestConversionAllocations(t *testing.T) {
	e := newEdge(t, wire.V12)
	f := frame("destination:/queue/q", "content-type:text/plain", "persistent:true", "correlation-id:c", "trace:abc", "receipt:1")
	f.Body = make([]byte, 1024)
	to := destination{kind: toQueue, key: "q"}
	var m *message.Message
	if n := testing.AllocsPerRun(100, func() { m, _ = e.in.message(f, to, testTime) }); n > 2 {
		t.Errorf("in: %v allocations, want the message and its bytes", n)
	}
	dst := make([]byte, 0, 4096)
	d := delivery{subscription: "s", number: 1, sequence: 1, ack: true}
	if n := testing.AllocsPerRun(100, func() { e.out.appendMessage(dst, m, &d, testTime) }); n > 0 {
		t.Errorf("out: %v allocations", n)
	}
	m = foreign("amqp", func(h message.Head) message.Head {
		return message.AppendString(message.AppendString(h, message.ContentType, "text/plain"), message.ReplyTo, "q")
	}, message.AppendStringField(message.Headers(nil), "trace", "abc"))
	if n := testing.AllocsPerRun(100, func() { e.out.appendMessage(dst, m, &d, testTime) }); n > 0 {
		t.Errorf("out of another protocol: %v allocations", n)
	}
}

func FuzzIngress(f *testing.F) {
	f.Add("type:1\nx-gw-types:a=F\na:[]\nreply-to:/temp-queue/x", []byte("body"))
	f.Add("correlation-id:b64:\nexpires:1\nx-gw-types:%zz=I,=,a=A", []byte{})
	f.Fuzz(func(t *testing.T, lines string, body []byte) {
		e := newEdge(t, wire.V12)
		fr := frame(strings.Split(lines, "\n")...)
		fr.Body = body
		fr.Headers = slices.DeleteFunc(fr.Headers, func(h wire.Header) bool {
			return h.Name == "" || strings.ContainsRune(h.Name+h.Value, 0)
		})
		m, err := e.in.message(fr, destination{kind: toQueue, key: "q"}, testTime)
		if err != nil {
			return
		}
		if err := m.Head.Validate(); err != nil {
			t.Fatalf("%q makes a bad head: %v", lines, err)
		}
		first := e.headers(m)
		again, err := e.in.message(frame(first...), destination{kind: toQueue, key: "q"}, testTime)
		if err != nil {
			t.Fatalf("%q comes back as %q: %v", lines, first, err)
		}
		if second := e.headers(again); !slices.Equal(first, second) {
			t.Fatalf("once %q, twice %q", first, second)
		}
	})
}

func TestParseTokenRefusesOthers(t *testing.T) {
	e := newEdge(t, wire.V12)
	b := e.out.appendToken(nil, "ack", &delivery{number: 3, sequence: 18_446_744_073_709_551_615})
	token := strings.TrimSuffix(strings.TrimPrefix(string(b), "ack:"), "\n")
	if number, sequence, ok := parseToken(token, "abc"); number != 3 || sequence != 1<<64-1 || !ok {
		t.Errorf("%q: %d %d %v", token, number, sequence, ok)
	}
	for _, bad := range []string{"", "abc", "abc-", "abc--", "abc-1", "abc-1-", "abc-1-x", "xyz-1-1", "abc-1-18446744073709551616"} {
		if _, _, ok := parseToken(bad, "abc"); ok {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func BenchmarkIngress(b *testing.B) {
	e := newEdge(&testing.T{}, wire.V12)
	f := frame("destination:/queue/q", "content-type:text/plain", "persistent:true", "trace:abc", "receipt:1")
	f.Body = make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = e.in.message(f, destination{kind: toQueue, key: "q"}, testTime)
	}
}

func BenchmarkEgress(b *testing.B) {
	e := newEdge(&testing.T{}, wire.V12)
	f := frame("content-type:text/plain", "persistent:true", "trace:abc")
	f.Body = make([]byte, 1024)
	m, _ := e.in.message(f, destination{kind: toQueue, key: "q"}, testTime)
	dst := make([]byte, 0, 4096)
	d := delivery{subscription: "s", number: 1, sequence: 1, ack: true}
	now := time.Now().UnixMilli()
	b.ReportAllocs()
	for b.Loop() {
		e.out.appendMessage(dst, m, &d, now)
	}
}
