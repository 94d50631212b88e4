package amqp

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
)

// nowhere is a socket that swallows what is written.
type nowhere struct{ net.Conn }

func (nowhere) Write(b []byte) (int, error)      { return len(b), nil }
func (nowhere) SetWriteDeadline(time.Time) error { return nil }
func (nowhere) Close() error                     { return nil }
func (nowhere) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// testChannel is an open channel whose frames a benchmark hands over itself.
func testChannel(tb testing.TB) (*bench, *channel) {
	b := newBench(tb, Limits{})
	c := newConn(b.server, nowhere{})
	c.router, c.origin, c.frameMax, c.vhost = b.router, b.router.NewOrigin(), wire.DefaultFrameMax, "/"
	ch := newChannel(c, 1)
	c.channels[1] = ch
	return b, ch
}

// publishFrames is a publish with its content, as frames.
func publishFrames(exchange, key string, p *wire.BasicProperties, body []byte) []wire.Frame {
	method := wire.BasicPublish{Exchange: exchange, RoutingKey: key}
	h := wire.ContentHeader{Class: 60, Size: uint64(len(body)), Properties: *p}
	return []wire.Frame{
		{Type: wire.FrameMethod, Channel: 1, Payload: payloadOf(method.AppendFrame(nil, 1))},
		{Type: wire.FrameHeader, Channel: 1, Payload: payloadOf(h.AppendFrame(nil, 1))},
		{Type: wire.FrameBody, Channel: 1, Payload: body},
	}
}

func (ch *channel) handleAll(tb testing.TB, frames []wire.Frame) {
	for _, f := range frames {
		if err := ch.handle(context.Background(), f); err != nil {
			tb.Fatal(err)
		}
	}
}

var typical = wire.BasicProperties{
	Flags: wire.FlagContentType | wire.FlagDeliveryMode | wire.FlagHeaders | wire.FlagMessageID | wire.FlagTimestamp, ContentType: "application/json",
	DeliveryMode: transient, Headers: text("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
	MessageID: "2f1b0a54-8f31-4a06-9a3c-5b0e5d1b8a11", Timestamp: 1_700_000_000,
}

// publishAllocations are the message and one block for its head and body. Whatever routes or stores it has its own
// budget: here nothing is bound.
const publishAllocations = 2

func TestPublishAllocations(t *testing.T) {
	_, ch := testChannel(t)
	frames := publishFrames("amq.direct", "nobody", &typical, make([]byte, 1024))
	ch.handleAll(t, frames)
	if n := testing.AllocsPerRun(1000, func() { ch.handleAll(t, frames) }); n > publishAllocations {
		t.Fatalf("%v allocations, want %d", n, publishAllocations)
	}
}

func TestConfirmedPublishAllocations(t *testing.T) {
	_, ch := testChannel(t)
	ch.confirming = true
	frames := publishFrames("amq.direct", "nobody", &typical, make([]byte, 1024))
	ch.handleAll(t, frames)
	// The writer goroutine, which ends whenever it has nothing to do, is the rest.
	const budget = publishAllocations + 2
	if n := testing.AllocsPerRun(1000, func() { ch.handleAll(t, frames) }); n > budget {
		t.Fatalf("%v allocations, want %d", n, budget)
	}
}

func nativeMessage(tb testing.TB) *message.Message {
	m := &message.Message{Exchange: "amq.direct", Key: "sensors.kitchen", Time: accepted, Body: make([]byte, 1024)}
	if _, err := testIngress().accept(m, nil, &typical); err != nil {
		tb.Fatal(err)
	}
	return m
}

func TestEncodeDeliveryAllocations(t *testing.T) {
	for _, tc := range []struct {
		name   string
		m      *message.Message
		budget float64
	}{
		{"from AMQP", nativeMessage(t), 0},
		{"from STOMP", &message.Message{Key: "a.b", Head: message.AppendHeaders(message.AppendString(nil, message.Protocol, message.ProtocolSTOMP), text("a", "b"))}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := testEgress()
			dst := encodeDelivery(nil, e, tc.m)
			if n := testing.AllocsPerRun(1000, func() { dst = encodeDelivery(dst[:0], e, tc.m) }); n > tc.budget {
				t.Fatalf("%v allocations, want %v", n, tc.budget)
			}
		})
	}
}

func encodeDelivery(dst []byte, e *egress, m *message.Message) []byte {
	p, key := e.render(m, accepted)
	method := wire.BasicDeliver{ConsumerTag: "ctag", DeliveryTag: 7, Exchange: m.Exchange, RoutingKey: key}
	dst, _ = wire.AppendContent(method.AppendFrame(dst, 1), 1, p, m.Body, wire.DefaultFrameMax)
	return dst
}

func TestDeliverAndAckAllocations(t *testing.T) {
	b, ch := testChannel(t)
	ctx := context.Background()
	if _, err := ch.declareQueue(ctx, &wire.QueueDeclare{Queue: "q"}); err != nil {
		t.Fatal(err)
	}
	if err := ch.consume(ctx, &wire.BasicConsume{Queue: "q", ConsumerTag: "t", NoWait: true}); err != nil {
		t.Fatal(err)
	}
	consumer := ch.consumers["t"]
	ch.conn.out.Finish(time.Second) // the test is the writer
	publisher := b.router.NewPublisher(0)
	m := nativeMessage(t)
	m.Exchange, m.Key = "", "q"
	dst := make([]byte, 0, 1<<20)
	round := func() {
		for range 16 {
			if _, _, err := publisher.Publish(m); err != nil {
				t.Fatal(err)
			}
		}
		dst, _ = consumer.Fill(dst[:0])
		if err := ch.settle(0, true, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		round()
	}
	if n := testing.AllocsPerRun(200, round); n > 1 {
		t.Fatalf("%v allocations per 16 messages published, delivered and acknowledged", n)
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{16, 256, 1024} {
		b.Run(fmt.Sprint(size, "B"), func(b *testing.B) {
			_, ch := testChannel(b)
			frames := publishFrames("amq.direct", "nobody", &wire.BasicProperties{Flags: wire.FlagDeliveryMode, DeliveryMode: 1}, make([]byte, size))
			b.ReportAllocs()
			for b.Loop() {
				ch.handleAll(b, frames)
			}
		})
	}
}

func BenchmarkEncodeDelivery(b *testing.B) {
	e, m := testEgress(), nativeMessage(b)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = encodeDelivery(dst[:0], e, m)
	}
}

// payloadOf is what is between the head and the end of a frame.
func payloadOf(frame []byte) []byte { return frame[7 : len(frame)-1] }
