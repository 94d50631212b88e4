package amqp

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"tridge/adapters/amqp/wire"
)

func frame(kind byte, channel uint16, payload string) []byte {
	b := []byte{kind, byte(channel >> 8), byte(channel), byte(len(payload) >> 24), byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload))}
	return append(append(b, payload...), wire.FrameEnd)
}

func header(channel uint16, class uint16, size int) []byte {
	h := wire.ContentHeader{Class: class, Size: uint64(size)}
	return h.AppendFrame(nil, channel)
}

// TestBadFramesCloseTheConnection sends what no client may send.
func TestBadFramesCloseTheConnection(t *testing.T) {
	publish := string((&wire.BasicPublish{RoutingKey: "q"}).AppendFrame(nil, 1))
	for _, tc := range []struct {
		name, bytes string
		code        wire.Code
		text        string
	}{
		{"unknown frame type", string(frame(9, 1, "x")), wire.FrameError, "unknown frame type 9 on channel 1"},
		{"no frame end", "\x01\x00\x01\x00\x00\x00\x01x\x00", wire.FrameError, "frame does not end with the frame-end octet"},
		{"over frame-max", "\x01\x00\x01\x00\x01\xff\xf9", wire.FrameError, "frame of 131073 octets is larger than the negotiated maximum of 131072"},
		{"method frame too short", string(frame(1, 1, "abc")), wire.FrameError, "method frame of 3 octets"},
		{"arguments too short", string(frame(1, 1, "\x00\x3c\x00\x50\x00")), wire.FrameError, "cannot decode arguments"},
		{"table that lies", string(frame(1, 1, "\x00\x32\x00\x0a\x00\x00\x01q\x00\x00\x00\x00\x09\x01a")), wire.FrameError, "cannot decode arguments"},
		{"heartbeat on a channel", string(frame(8, 1, "")), wire.UnexpectedFrame, "heartbeat on channel 1"},
		{"heartbeat with a payload", string(frame(8, 0, "x")), wire.FrameError, "heartbeat of 1 octets"},
		{"header with a weight", publish + string(frame(2, 1, "\x00\x3c\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")), wire.UnexpectedFrame,
			"expected content header for class 60, got non content header frame instead"},
		{"header table that lies", publish + string(frame(2, 1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00\x00\xff\x01aS\x00\x00\x00\x00")), wire.SyntaxError,
			"malformed content header"},
		{"text in a table that lies", string(frame(1, 1, "\x00\x32\x00\x0a\x00\x00\x01q\x00\x00\x00\x00\x08\x01aS\xff\xff\xff\xff\x00")), wire.FrameError, "cannot decode arguments"},
		{"unknown type in a table", string(frame(1, 1, "\x00\x32\x00\x0a\x00\x00\x01q\x00\x00\x00\x00\x04\x01a?\x00")), wire.FrameError, "cannot decode arguments"},
		{"body on a channel that is not open", string(frame(3, 7, "x")), wire.UnexpectedFrame, "expected method frame, got non method frame instead"},
		{"connection.open again", string((&wire.ConnectionOpen{VirtualHost: "/"}).AppendFrame(nil, 0)), wire.ChannelError, "unexpected method in connection state running"},
		{"connection.close on a channel", string((&wire.ConnectionClose{}).AppendFrame(nil, 1)), wire.CommandInvalid, "unimplemented method"},
		{"no octets of a method", string(frame(1, 1, "")), wire.FrameError, "method frame of 0 octets"},
		{"content on channel 0", string(frame(3, 0, "x")), wire.UnexpectedFrame, "frame type 3 on channel 0"},
		{"queue class on channel 0", string((&wire.QueuePurge{}).AppendFrame(nil, 0)), wire.ChannelError, "unexpected method in connection state running"},
		{"connection.start again", string((&wire.ConnectionStart{}).AppendFrame(nil, 0)), wire.ChannelError, "unexpected method in connection state running"},
		{"unknown method", string(frame(1, 1, "\x00\x3c\x00\x63")), wire.CommandInvalid, "unimplemented method"},
		{"method of the server", string((&wire.BasicGetEmpty{}).AppendFrame(nil, 1)), wire.CommandInvalid, "unimplemented method"},
		{"channel opened twice", string((&wire.ChannelOpen{}).AppendFrame(nil, 1)), wire.ChannelError, "second 'channel.open' seen"},
		{"channel not open", string((&wire.QueuePurge{}).AppendFrame(nil, 2)), wire.ChannelError, "expected 'channel.open'"},
		{"header without a method", string(header(1, 60, 1)), wire.UnexpectedFrame, "expected method frame, got non method frame instead"},
		{"body without a method", string(frame(3, 1, "x")), wire.UnexpectedFrame, "expected method frame, got non method frame instead"},
		{"method instead of a header", publish + publish, wire.UnexpectedFrame, "expected content header for class 60, got non content header frame instead"},
		{"body instead of a header", publish + string(frame(3, 1, "x")), wire.UnexpectedFrame, "expected content header for class 60, got non content header frame instead"},
		{"method instead of a body", publish + string(header(1, 60, 1)) + publish, wire.UnexpectedFrame, "expected content body, got non content body frame instead"},
		{"header of another class", publish + string(header(1, 50, 1)), wire.UnexpectedFrame, "expected content header for class 60, got one for class 50 instead"},
		{"malformed header", publish + string(frame(2, 1, "\x00\x3c")), wire.SyntaxError, "malformed content header"},
		{"body longer than announced", publish + string(header(1, 60, 3)) + string(frame(3, 1, "abcd")), wire.UnexpectedFrame, "expected content body, got non content body frame instead"},
		{"consumer tag twice", string((&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}).AppendFrame(nil, 1)), wire.NotAllowed, "attempt to reuse consumer tag 't'"},
		{"invalid exchange type", string((&wire.ExchangeDeclare{Exchange: "x", Type: "none"}).AppendFrame(nil, 1)), wire.CommandInvalid, "invalid exchange type 'none'"},
		{"unknown exchange type", string((&wire.ExchangeDeclare{Exchange: "x", Type: "odd"}).AppendFrame(nil, 1)), wire.CommandInvalid, "unknown exchange type 'odd'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Limits{}, func(b *bench) {
				c := b.dial()
				c.queue("q")
				c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
				c.write([]byte(tc.bytes))
				c.connectionError(tc.code, tc.code.String()+" - "+tc.text)
				if q, err := b.router.Queue("q", 0); err != nil || q.Stats().Consumers != 0 {
					t.Error("a consumer was left behind")
				}
			})
		})
	}
}

// aiormq opens channel 65535 whatever was negotiated.
func TestChannelMaxIsHowManyAndNotWhichNumber(t *testing.T) {
	inBubble(t, Limits{ChannelMax: 2}, func(b *bench) {
		c := b.dial()
		c.openChannel(65535)
		c.send(65535, &wire.ChannelClose{ReplyCode: 200})
		c.expect(65535, &wire.ChannelCloseOK{})
		c.openChannel(65534)
		c.send(2, &wire.ChannelOpen{})
		c.connectionError(wire.NotAllowed, "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)")
	})
}

func TestClosedChannelDiscardsUntilCloseOK(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.openChannel(2)
		c.queue("q")
		c.send(1, &wire.QueuePurge{Queue: "none"})
		c.publish("", "q", durable, "discarded")
		c.send(1, &wire.QueueDelete{Queue: "q"})
		c.expect(1, &wire.ChannelClose{})
		c.send(1, &wire.ChannelCloseOK{})
		c.openChannel(1)
		var ok wire.QueueDeclareOK
		c.call(&wire.QueueDeclare{Queue: "q", Passive: true}, &ok)
		if ok.MessageCount != 0 {
			t.Errorf("%d messages from a closed channel", ok.MessageCount)
		}
		c.send(2, &wire.ChannelClose{ReplyCode: 200})
		c.expect(2, &wire.ChannelCloseOK{})
		c.openChannel(2)
		c.hangUp()
	})
}

func TestBothSidesCloseTheChannel(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.send(1, &wire.QueuePurge{Queue: "none"})
		c.send(1, &wire.ChannelClose{ReplyCode: 200})
		c.expect(1, &wire.ChannelClose{})
		c.expect(1, &wire.ChannelCloseOK{})
		c.send(1, &wire.ChannelCloseOK{})
		c.openChannel(1)
		c.hangUp()
	})
}

func TestErrorNamesTheMethod(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.publish("missing", "k", durable, "x")
		var m wire.ChannelClose
		c.expect(1, &m)
		if m.ClassID != 60 || m.MethodID != 40 || m.ReplyText != "NOT_FOUND - no exchange 'missing' in vhost '/'" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestBodiesAreCutToFrameMax(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.connect()
		c.handshake(wire.FrameMinSize)
		c.openChannel(1)
		c.queue("q")
		long := strings.Repeat("0123456789abcdef", 1000)
		sent := (&wire.BasicPublish{RoutingKey: "q"}).AppendFrame(nil, 1)
		sent, _ = wire.AppendContent(sent, 1, &wire.BasicProperties{}, []byte(long), wire.FrameMinSize)
		c.write(sent)
		c.frames.SetFrameMax(wire.FrameMinSize)
		c.call(&wire.BasicGet{Queue: "q", NoAck: true}, &wire.BasicGetOK{})
		if got := c.content(); string(got.body) != long {
			t.Errorf("got %d bytes, want %d", len(got.body), len(long))
		}
	})
}

func TestMessageOverTheLimitClosesTheChannel(t *testing.T) {
	inBubble(t, Limits{MessageSize: 100}, func(b *bench) {
		c := b.dial()
		c.queue("q", strings.Repeat("x", 100))
		c.publish("", "q", durable, strings.Repeat("x", 101))
		c.channelError(wire.PreconditionFailed, "PRECONDITION_FAILED - message size 101 is larger than configured max size 100")
		c.call(&wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{})
	})
}

func TestPropertiesClientsMayNotSet(t *testing.T) {
	for _, tc := range []struct {
		name string
		p    wire.BasicProperties
		text string
	}{
		{"somebody else's user-id", wire.BasicProperties{Flags: wire.FlagUserID, UserID: "root"},
			"PRECONDITION_FAILED - user_id property set to 'root' but authenticated user was 'guest'"},
		{"expiration that is no number", wire.BasicProperties{Flags: wire.FlagExpiration, Expiration: "soon"},
			"PRECONDITION_FAILED - invalid expiration 'soon': no_integer"},
		{"negative expiration", wire.BasicProperties{Flags: wire.FlagExpiration, Expiration: "-1"},
			"PRECONDITION_FAILED - invalid expiration '-1': {value_negative,-1}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, Limits{}, func(b *bench) {
				c := b.dial()
				c.queue("q")
				c.publish("", "q", tc.p, "x")
				c.channelError(wire.PreconditionFailed, tc.text)
			})
		})
	}
}

// TestManyChannelsCostNothingAfterwards opens all the protocol has and leaves no goroutine, for the bubble waits for all
// of them, and no memory to speak of.
func TestManyChannelsCostNothingAfterwards(t *testing.T) {
	const channels = 65535
	inBubble(t, Limits{ChannelMax: channels}, func(b *bench) {
		before := heap()
		c := b.dial()
		for n := 2; n <= channels; n++ {
			c.openChannel(uint16(n))
		}
		c.send(0, &wire.ConnectionClose{ReplyCode: 200})
		c.expect(0, &wire.ConnectionCloseOK{})
		if err := c.ended(); err != nil {
			t.Error(err)
		}
		c.frames = nil
		synctest.Wait()                            // whoever served the connection has gone
		if left := heap() - before; left > 1<<20 { // the channels themselves would be twenty times that
			t.Errorf("%d bytes are left behind", left)
		}
	})
}

// heap is how many bytes are in use.
func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools still held
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func TestTicketForOldClients(t *testing.T) {
	inBubble(t, Limits{}, func(b *bench) {
		c := b.dial()
		c.write(frame(1, 1, "\x00\x1e\x00\x0a\x05/data\x1f"))
		f, err := c.next()
		if err != nil || f.Channel != 1 || string(f.Payload) != "\x00\x1e\x00\x0b\x00\x01" {
			t.Errorf("got %q on channel %d, %v", f.Payload, f.Channel, err)
		}
	})
}
