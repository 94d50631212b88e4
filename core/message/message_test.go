package message

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
)

// every builds a list with a header of every type, nested ones, duplicates and a name too long for AMQP.
func every() Headers {
	var h Headers
	h = AppendStringField(h, "s", "text")
	h = AppendStringField(h, "s", "again")
	h = AppendStringField(h, "", "")
	for _, v := range []Value{
		{TypeBool, []byte{1}}, {TypeInt8, []byte{0xff}}, {TypeUint8, []byte{0xff}}, {TypeInt16, []byte{0xff, 0xfe}},
		{TypeUint16, []byte{0xff, 0xfe}}, {TypeInt32, []byte{0x80, 0, 0, 0}}, {TypeUint32, []byte{0x80, 0, 0, 0}},
		{TypeInt64, []byte{0x80, 0, 0, 0, 0, 0, 0, 0}}, {TypeFloat, []byte{0x3f, 0x80, 0, 1}},
		{TypeDouble, []byte{0x3f, 0xf0, 0, 0, 0, 0, 0, 1}}, {TypeDecimal, []byte{3, 0xff, 0xff, 0xff, 0xfb}},
		{TypeTimestamp, []byte{0, 0, 0, 1, 0, 0, 0, 0}}, {TypeVoid, nil}, {TypeBytes, []byte{0, 0, 0, 2, 0, 0xff}},
	} {
		h = AppendField(h, "type "+string(rune(v.Type)), v)
	}
	h = AppendTableField(h, "table", AppendTableField(AppendStringField(Headers(nil), "a", "b"), "inner", AppendField(Headers(nil), "n", IntValue(7))))
	h = AppendTableField(h, "bytes", AppendStringField(AppendStringField(Headers(nil), "not \xff UTF-8", "nor \xfe this"), "", ""))
	h = AppendField(h, "array", ArrayValue(IntValue(1), StringValue("two"), ArrayValue(BoolValue(true)), TableValue(nil)))
	return AppendStringField(h, strings.Repeat("n", 300), "long name")
}

func head() Head {
	var h Head
	h = AppendString(h, ContentType, "text/plain")
	h = AppendBytes(h, CorrelationID, []byte{0, 1, 2})
	h = AppendInt(h, Timestamp, math.MaxInt64)
	h = AppendString(h, ReplyTo, strings.Repeat("r", 300))
	return AppendHeaders(h, every())
}

func TestHeadGivesBackWhatWentIn(t *testing.T) {
	h := head()
	if err := h.Validate(); err != nil {
		t.Fatal(err)
	}
	if v, ok := h.String(ContentType); v != "text/plain" || !ok {
		t.Errorf("content type %q, %v", v, ok)
	}
	if v, ok := h.Bytes(CorrelationID); !bytes.Equal(v, []byte{0, 1, 2}) || !ok {
		t.Errorf("correlation id %v, %v", v, ok)
	}
	if v, ok := h.Int(Timestamp); v != math.MaxInt64 || !ok {
		t.Errorf("timestamp %d, %v", v, ok)
	}
	if _, ok := h.String(AppID); ok {
		t.Error("an app id out of nowhere")
	}
	if !bytes.Equal(h.Headers(), every()) {
		t.Error("the headers are not byte for byte the same")
	}
	if exchange, key, ok := h.Reply(); exchange != "" || len(key) != 300 || !ok {
		t.Errorf("reply address %q, %q, %v", exchange, key, ok)
	}
	var tags []Property
	for p := range h.All() {
		tags = append(tags, p)
	}
	if !slices.Equal(tags, []Property{ContentType, CorrelationID, Timestamp, ReplyTo}) {
		t.Errorf("properties %v", tags)
	}
	if got := h.Properties(); len(got)+1+len(every()) != len(h) {
		t.Errorf("Properties() has %d of %d bytes", len(got), len(h))
	}
}

func TestHeadersKeepOrderAndDuplicates(t *testing.T) {
	var names []string
	for name := range every().All() {
		names = append(names, name)
	}
	if names[0] != "s" || names[1] != "s" || names[2] != "" || len(names[len(names)-1]) != 300 {
		t.Errorf("names %q", names)
	}
	if v, ok := every().Get("s"); v.Text() != "text" || !ok {
		t.Errorf("the first of two is %q", v.Text())
	}
	if v, ok := every().Get(strings.Repeat("n", 300)); v.Text() != "long name" || !ok {
		t.Error("the long name is lost")
	}
	if every().ValidateTable() == nil {
		t.Error("a long name passes as a field table")
	}
	nested := AppendTableField(Headers(nil), "t", AppendStringField(Headers(nil), strings.Repeat("n", 300), ""))
	if nested.ValidateTable() == nil || nested.Validate() != nil {
		t.Error("a long name in a nested table passes as a field table")
	}
}

func TestTextAndTypesBringEveryValueBack(t *testing.T) {
	h := every()
	var texts Headers
	for name, v := range h.All() {
		texts = AppendStringField(texts, name, v.Text())
	}
	names := map[string]bool{}
	var unique, uniqueTexts Headers
	for name, v := range h.All() {
		if !names[name] {
			unique = AppendField(unique, name, v)
			uniqueTexts = AppendStringField(uniqueTexts, name, v.Text())
		}
		names[name] = true
	}
	if got := uniqueTexts.WithTypes(unique.Types()); !bytes.Equal(got, unique) {
		for name, v := range unique.All() {
			if back, _ := got.Get(name); back.Type != v.Type || !bytes.Equal(back.Raw, v.Raw) {
				t.Errorf("%q: type %c %v came back as %c %v (text %q)", name, v.Type, v.Raw, back.Type, back.Raw, v.Text())
			}
		}
	}
	odd := AppendField(Headers(nil), "a,b=c%d\n", IntValue(1))
	text := AppendStringField(Headers(nil), "a,b=c%d\n", "1")
	if got := text.WithTypes(odd.Types()); !bytes.Equal(got, odd) {
		t.Errorf("hint %q does not bring an odd name back", odd.Types())
	}
}

func TestHintsThatDoNotFitChangeNothing(t *testing.T) {
	h := AppendStringField(Headers(nil), "n", "not a number")
	for _, hint := range []string{"", "n=l", "n=?", "n=", "=l", "%zz=l", "other=l", "n=A", "n=F", "n=x", strings.Repeat(",", 1000)} {
		if got := h.WithTypes(hint); !bytes.Equal(got, h) {
			t.Errorf("hint %q gave %q", hint, got)
		}
	}
}

func TestMessageSurvivesItsEncoding(t *testing.T) {
	for _, m := range []Message{
		{},
		{Exchange: "x", Key: "a.b", Head: head(), Body: []byte("body"), Time: 1, Expires: math.MaxInt64, Priority: 255,
			Guarantee: ExactlyOnce, Retain: true},
		{Key: strings.Repeat("k", 70000), Body: make([]byte, 100000), Guarantee: AtLeastOnce},
	} {
		encoded := m.Append(nil)
		if len(encoded) > m.EncodedSize() {
			t.Errorf("%d bytes, EncodedSize said %d", len(encoded), m.EncodedSize())
		}
		var back Message
		n, err := back.Decode(append(encoded, "more"...))
		if err != nil || n != len(encoded) {
			t.Fatalf("Decode: %d of %d, %v", n, len(encoded), err)
		}
		if back.Exchange != m.Exchange || back.Key != m.Key || !bytes.Equal(back.Head, m.Head) || !bytes.Equal(back.Body, m.Body) ||
			back.Time != m.Time || back.Expires != m.Expires || back.Priority != m.Priority || back.Guarantee != m.Guarantee || back.Retain != m.Retain {
			t.Errorf("%+v came back as %+v", m, back)
		}
		want := Summary{Time: m.Time, Expires: m.Expires, Priority: m.Priority, Body: len(m.Body)}
		if got, err := Peek(encoded); got != want || err != nil {
			t.Errorf("Peek: %+v, %v, want %+v", got, err, want)
		}
		for cut := range min(len(encoded), 200) {
			if _, err := new(Message).Decode(encoded[:cut]); err == nil && cut < len(encoded) {
				t.Fatalf("the first %d of %d bytes pass as a message", cut, len(encoded))
			}
		}
	}
}

func TestNestingIsBounded(t *testing.T) {
	h := Headers(nil)
	for range maxDepth + 2 {
		h = AppendTableField(Headers(nil), "t", h)
	}
	if h.Validate() == nil {
		t.Error("tables nested without end are valid")
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add([]byte(every()))
	f.Add([]byte{1, 'a', 'A', 0, 0, 0, 1, 'V'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		h := Headers(raw)
		valid := h.Validate() == nil
		n := 0
		var again Headers
		for name, v := range h.All() {
			n++
			if valid {
				again = AppendField(again, name, v)
				_ = v.Text()
			}
		}
		if valid && !bytes.Equal(again, h) && len(h) > 0 {
			t.Errorf("%x re-encoded is %x", raw, again)
		}
		h.Get("x")
		if valid {
			h.WithTypes(h.Types())
		}
	})
}

func FuzzMessage(f *testing.F) {
	m := Message{Exchange: "x", Key: "k", Head: head(), Body: []byte("b"), Guarantee: AtLeastOnce}
	f.Add(m.Append(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m, again Message
		if _, err := m.Decode(raw); err != nil {
			return
		}
		encoded := m.Append(nil)
		if _, err := again.Decode(encoded); err != nil {
			t.Fatalf("does not survive its own encoding: %v", err)
		}
		if !bytes.Equal(again.Append(nil), encoded) {
			t.Error("two encodings of one message")
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	m := Message{Exchange: "amq.topic", Key: "sensors.1.temperature", Head: head(), Body: make([]byte, 1024)}
	dst := make([]byte, 0, m.EncodedSize())
	b.ReportAllocs()
	for b.Loop() {
		dst = m.Append(dst[:0])
	}
}
