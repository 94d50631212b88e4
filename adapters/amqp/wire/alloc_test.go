package wire

import (
	"bytes"
	"testing"

	"tridge/core/message"
)

// endless repeats a byte sequence for ever.
type endless struct {
	pattern []byte
	at      int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		copied := copy(p[n:], e.pattern[e.at:])
		n += copied
		e.at = (e.at + copied) % len(e.pattern)
	}
	return n, nil
}

func publishFrames() []byte {
	p := BasicProperties{
		Flags: FlagContentType | FlagDeliveryMode | FlagHeaders, ContentType: "application/json", DeliveryMode: 2,
		Headers: message.AppendStringField(message.Headers{}, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
	}
	stream := (&BasicPublish{Exchange: "amq.topic", RoutingKey: "sensors.kitchen"}).AppendFrame(nil, 1)
	stream, _ = AppendContent(stream, 1, &p, make([]byte, 1024), DefaultFrameMax)
	return stream
}

// readPublish reads and decodes one publish with its content.
func readPublish(r *Reader) error {
	f, err := r.Next()
	if err != nil {
		return err
	}
	_, arguments, err := SplitMethod(f.Payload)
	if err != nil {
		return err
	}
	var m BasicPublish
	if err := m.Decode(arguments); err != nil {
		return err
	}
	if f, err = r.Next(); err != nil {
		return err
	}
	var h ContentHeader
	if err := h.Decode(f.Payload); err != nil {
		return err
	}
	_, err = r.Next()
	return err
}

func appendDeliver(dst []byte, body []byte) []byte {
	d := BasicDeliver{ConsumerTag: "ctag", DeliveryTag: 7, Exchange: "amq.topic", RoutingKey: "sensors.kitchen"}
	dst = d.AppendFrame(dst, 1)
	dst, _ = AppendContent(dst, 1, &BasicProperties{Flags: FlagDeliveryMode, DeliveryMode: 2}, body, DefaultFrameMax)
	return dst
}

func TestDecodePublishAllocatesNothing(t *testing.T) {
	r := NewReader(&endless{pattern: publishFrames()}, DefaultFrameMax)
	for range 200 { // the buffer finds its size
		if err := readPublish(r); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(1000, func() {
		if err := readPublish(r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestEncodeDeliverAllocatesNothing(t *testing.T) {
	dst, body := make([]byte, 0, 4096), make([]byte, 1024)
	if n := testing.AllocsPerRun(1000, func() { dst = appendDeliver(dst[:0], body) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkDecodePublish(b *testing.B) {
	pattern := publishFrames()
	r := NewReader(&endless{pattern: pattern}, DefaultFrameMax)
	b.SetBytes(int64(len(pattern)))
	b.ReportAllocs()
	for b.Loop() {
		if err := readPublish(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeDeliver(b *testing.B) {
	body := bytes.Repeat([]byte{'x'}, 1024)
	dst := appendDeliver(nil, body)
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for b.Loop() {
		dst = appendDeliver(dst[:0], body)
	}
}
