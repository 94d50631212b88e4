package amqp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"tridge/adapters/amqp/wire"
	"tridge/core/router"
	"tridge/core/session"
)

// everyMethod returns every method of the generated table, its fields filled.
func everyMethod(t testing.TB) (all []wire.Method) {
	t.Helper()
	for class := uint32(0); class < 128; class++ {
		for method := uint32(0); method < 256; method++ {
			m, _ := wire.Decode(binary.BigEndian.AppendUint32(nil, class<<16|method))
			if m == nil {
				continue
			}
			v := reflect.ValueOf(m).Elem()
			for i := range v.NumField() {
				switch f := v.Field(i); f.Kind() {
				case reflect.Bool:
					f.SetBool(true)
				case reflect.String:
					f.SetString("text")
				case reflect.Slice:
					f.Set(reflect.ValueOf(text("name", "value")))
				default:
					f.SetUint(1)
				}
			}
			all = append(all, m)
		}
	}
	if len(all) != 64 {
		t.Fatalf("%d methods in the table, want 64", len(all))
	}
	return all
}

// ofTheServer reports whether a client may never say m: answers, but for those that a server's questions have, and what a
// server says by itself.
func ofTheServer(m wire.Method) bool {
	switch name := m.ID().String(); name {
	case "connection.start-ok", "connection.secure-ok", "connection.tune-ok", "connection.close-ok", "channel.close-ok":
		return false
	case "connection.start", "connection.secure", "connection.tune", "connection.blocked", "connection.unblocked",
		"basic.return", "basic.deliver", "basic.get-empty":
		return true
	default:
		return strings.HasSuffix(name, "-ok")
	}
}

func ofConnection(m wire.Method) bool { return m.ID().Class() == wire.IDConnectionStart.Class() }

// end is what a violation is answered with; the zero end is nothing at all.
type end struct {
	channel uint16 // 0 for connection.close
	code    wire.Code
	at      wire.ID
}

func (e end) String() string { return fmt.Sprintf("channel %d: %d at %s", e.channel, e.code, e.at) }

// until reads until a channel or the connection is closed by the server.
func (c *client) until() (end, error) {
	for {
		f, err := c.next()
		if err != nil {
			return end{}, err
		}
		if f.Type != wire.FrameMethod {
			continue
		}
		m, err := wire.Decode(f.Payload)
		if err != nil {
			return end{}, err
		}
		switch m := m.(type) {
		case *wire.ChannelClose:
			return end{f.Channel, wire.Code(m.ReplyCode), wire.ID(uint32(m.ClassID)<<16 | uint32(m.MethodID))}, nil
		case *wire.ConnectionClose:
			return end{0, wire.Code(m.ReplyCode), wire.ID(uint32(m.ClassID)<<16 | uint32(m.MethodID))}, nil
		}
	}
}

// encumber has a connection hold one of everything that can be left behind.
func (c *client) encumber() {
	c.t.Helper()
	c.queue("q", "a", "b", "c")
	c.queue("committed")
	c.call(&wire.BasicQos{PrefetchCount: 1}, &wire.BasicQosOK{})
	c.call(&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, &wire.BasicConsumeOK{})
	c.bodies("a")
	c.call(&wire.BasicGet{Queue: "q"}, &wire.BasicGetOK{})
	c.content()
	c.call(&wire.QueueDeclare{Queue: "mine", Exclusive: true}, &wire.QueueDeclareOK{})
	c.call(&wire.QueueDeclare{Queue: "temporary", AutoDelete: true}, &wire.QueueDeclareOK{})
	c.call(&wire.BasicConsume{Queue: "temporary", ConsumerTag: "u"}, &wire.BasicConsumeOK{})
	c.call(&wire.BasicConsume{Queue: replyQueue, NoAck: true, ConsumerTag: "r"}, &wire.BasicConsumeOK{})
	c.openChannel(2) // a transaction that is never committed
	c.send(2, &wire.TxSelect{})
	c.expect(2, &wire.TxSelectOK{})
	publish := func(channel uint16, body string, whole bool) {
		b := (&wire.BasicPublish{RoutingKey: "committed"}).AppendFrame(nil, channel)
		if b, _ = wire.AppendContent(b, channel, &durable, []byte(body), wire.DefaultFrameMax); !whole {
			b = b[:len(b)-len(body)-8]
			b = append(b, frame(wire.FrameBody, channel, body[:len(body)/2])...)
		}
		c.write(b)
	}
	publish(2, "never", true)
	c.openChannel(3) // half a message
	publish(3, strings.Repeat("half", 1000), false)
}

// nothingLeft checks that everything of an encumbered connection is gone. That no goroutine is left the bubble sees to.
func (b *bench) nothingLeft() {
	b.t.Helper()
	synctest.Wait()
	if s := b.stats("q"); s.Ready != 3 || s.Unacked != 0 || s.Consumers != 0 {
		b.t.Errorf("left behind in the queue: %+v", s)
	}
	if s := b.stats("committed"); s.Ready != 0 {
		b.t.Errorf("%d messages were published", s.Ready)
	}
	for _, name := range []string{"mine", "temporary"} {
		if _, err := b.router.Queue(name, 0); !errors.Is(err, router.ErrNotFound) {
			b.t.Errorf("queue %q is still there: %v", name, err)
		}
	}
	if n := len(b.server.config.Sessions.Connections()); n != 0 {
		b.t.Errorf("%d sessions are registered", n)
	}
	if n := b.log.Living(); n != 3 {
		b.t.Errorf("%d references in the log, want 3", n)
	}
}

// violation is bytes, and what is to come of them.
type violation struct {
	name string
	say  []byte
	want end
}

// commit has an encumbered connection say what it may not, and checks what comes of it and that nothing stays behind.
func (v violation) commit(t *testing.T) {
	t.Helper()
	inBubble(t, Limits{}, func(b *bench) {
		b.server.config.Sessions = session.NewRegistry()
		c := b.dial()
		c.encumber()
		_, _ = c.socket.Write(v.say)
		if v.want == (end{}) { // nothing happens: the connection goes on, and ends in order
			c.send(1, &wire.BasicCancel{ConsumerTag: "none"})
			c.expect(1, &wire.BasicCancelOK{})
			c.hangUp()
			b.nothingLeft()
			return
		}
		got, err := c.until()
		if err != nil || got != v.want {
			t.Fatalf("%s: answered with %v, %v; want %v", v.name, got, err, v.want)
		}
		if got.channel != 0 {
			c.send(got.channel, &wire.ChannelCloseOK{})
			c.openChannel(got.channel)
			c.hangUp()
		} else {
			c.send(0, &wire.ConnectionCloseOK{})
			c.ended()
		}
		b.nothingLeft()
	})
}

// TestEveryMethodInTheWrongPlace: on a channel it does not belong to, in the middle of content, said by the wrong side.
func TestEveryMethodInTheWrongPlace(t *testing.T) {
	before := heap()
	for _, m := range everyMethod(t) {
		id := m.ID()
		on := func(channel uint16) []byte { return m.AppendFrame(nil, channel) }
		t.Run(id.String(), func(t *testing.T) {
			publish := (&wire.BasicPublish{RoutingKey: "q"}).AppendFrame(nil, 1)
			begun := append(publish[:len(publish):len(publish)], header(1, 60, 10)...)
			list := []violation{
				{"instead of a header", append(publish[:len(publish):len(publish)], on(1)...), end{0, wire.UnexpectedFrame, wire.IDBasicPublish}},
				{"instead of a body", append(begun, on(1)...), end{0, wire.UnexpectedFrame, wire.IDBasicPublish}},
				{"on channel 0", on(0), end{0, wire.ChannelError, id}},
				{"on a channel that is not open", on(7), end{0, wire.ChannelError, id}},
			}
			switch {
			case ofConnection(m):
				list = append(list, violation{"on a channel", on(1), end{0, wire.CommandInvalid, id}})
			case ofTheServer(m):
				list = append(list, violation{"from a client", on(1), end{0, wire.CommandInvalid, id}})
			}
			switch id {
			case wire.IDConnectionClose, wire.IDConnectionUpdateSecret: // right on channel 0
				list[2].want = end{}
			case wire.IDChannelOpen:
				list[3].want = end{}
				list = append(list, violation{"again", on(1), end{0, wire.ChannelError, id}})
			case wire.IDChannelCloseOK: // may answer a close of ours that the peer's own has overtaken
				list[3].want = end{}
			}
			for _, v := range list {
				switch {
				case v.name == "on channel 0" && id == wire.IDConnectionClose: // that is hanging up
				case v.name == "on channel 0" && id == wire.IDConnectionUpdateSecret: // that is answered
				case v.name == "on a channel that is not open" && id == wire.IDChannelOpen: // that is opening it
				default:
					v.commit(t)
				}
			}
		})
	}
	if left := heap() - before; left > 1<<20 {
		t.Errorf("%d bytes are left behind", left)
	}
}

// TestFramesInTheWrongPlace leave nothing behind either.
func TestFramesInTheWrongPlace(t *testing.T) {
	publish := string((&wire.BasicPublish{RoutingKey: "q"}).AppendFrame(nil, 1))
	begun := publish + string(header(1, 60, 10))
	method, inPublish := wire.ID(0), wire.IDBasicPublish
	for _, c := range []struct {
		name, say string
		code      wire.Code
		at        wire.ID
	}{
		{"header without a method", string(header(1, 60, 1)), wire.UnexpectedFrame, method},
		{"body without a method", string(frame(wire.FrameBody, 1, "x")), wire.UnexpectedFrame, method},
		{"body instead of a header", publish + string(frame(wire.FrameBody, 1, "x")), wire.UnexpectedFrame, inPublish},
		{"header instead of a body", begun + string(header(1, 60, 10)), wire.UnexpectedFrame, inPublish},
		{"body longer than announced", begun + string(frame(wire.FrameBody, 1, "01234567890")), wire.UnexpectedFrame, inPublish},
		{"second body longer than announced", begun + string(frame(wire.FrameBody, 1, "01234")) + string(frame(wire.FrameBody, 1, "012345")), wire.UnexpectedFrame, inPublish},
		{"body after all of it", publish + string(header(1, 60, 0)) + string(frame(wire.FrameBody, 1, "")), wire.UnexpectedFrame, method},
		{"heartbeat on a channel", string(frame(wire.FrameHeartbeat, 1, "")), wire.UnexpectedFrame, method},
		{"heartbeat on a channel that waits for a body", begun + string(frame(wire.FrameHeartbeat, 1, "")), wire.UnexpectedFrame, method},
		{"header on channel 0", string(frame(wire.FrameHeader, 0, "x")), wire.UnexpectedFrame, method},
		{"body on channel 0", string(frame(wire.FrameBody, 0, "x")), wire.UnexpectedFrame, method},
		{"header on a channel that is not open", string(header(7, 60, 1)), wire.UnexpectedFrame, method},
		{"body on a channel that is not open", string(frame(wire.FrameBody, 7, "x")), wire.UnexpectedFrame, method},
		{"unknown frame type", string(frame(9, 1, "x")), wire.FrameError, method},
		{"no frame end", "\x01\x00\x01\x00\x00\x00\x01x\x00", wire.FrameError, method},
		{"over frame-max", "\x01\x00\x01\x7f\xff\xff\xff", wire.FrameError, method},
	} {
		t.Run(c.name, func(t *testing.T) {
			say := c.say
			if c.name == "body after all of it" { // the message is whole: it must not count as left behind
				say = strings.Replace(say, "q\x00\xce", "w\x00\xce", 1)
			}
			violation{c.name, []byte(say), end{0, c.code, c.at}}.commit(t)
		})
	}
}

// TestEveryMethodDuringTheHandshake: only the one that is due is taken.
func TestEveryMethodDuringTheHandshake(t *testing.T) {
	for _, m := range everyMethod(t) {
		for at, due := range []wire.ID{wire.IDConnectionStartOK, wire.IDConnectionTuneOK, wire.IDConnectionOpen} {
			if m.ID() == due || m.ID() == wire.IDConnectionClose {
				continue
			}
			for channel, want := range map[uint16]end{0: {0, wire.CommandInvalid, m.ID()}, 1: {0, wire.UnexpectedFrame, 0}} {
				inBubble(t, Limits{}, func(b *bench) {
					c := b.connect()
					c.write(protocolHeader[:])
					c.expect(0, &wire.ConnectionStart{})
					if at > 0 {
						c.send(0, startOK("guest", "guest"))
						c.expect(0, &wire.ConnectionTune{})
					}
					if at > 1 {
						c.send(0, &wire.ConnectionTuneOK{})
					}
					c.send(channel, m)
					if got, err := c.until(); err != nil || got != want {
						t.Errorf("%s on channel %d instead of %s: %v, %v; want %v", m.ID(), channel, due, got, err, want)
					}
					_, _ = c.socket.Write((&wire.ConnectionCloseOK{}).AppendFrame(nil, 0))
					c.ended()
				})
			}
		}
	}
}

// TestEveryMethodOnAClosedChannel is discarded, whatever its arguments are; closing it again is answered.
func TestEveryMethodOnAClosedChannel(t *testing.T) {
	for _, m := range everyMethod(t) {
		if m.ID() == wire.IDChannelCloseOK {
			continue
		}
		inBubble(t, Limits{}, func(b *bench) {
			b.server.config.Sessions = session.NewRegistry()
			c := b.dial()
			c.encumber()
			c.send(1, &wire.QueuePurge{Queue: "none"})
			c.expect(1, &wire.ChannelClose{})
			id := binary.BigEndian.AppendUint32(nil, uint32(m.ID()))
			c.write(frame(wire.FrameMethod, 1, string(id)+"\xff\xff"))
			c.write(append(m.AppendFrame(nil, 1), frame(wire.FrameHeader, 1, "odd")...))
			c.write(frame(wire.FrameBody, 1, "odd"))
			if m.ID() == wire.IDChannelClose {
				c.expect(1, &wire.ChannelCloseOK{})
				c.expect(1, &wire.ChannelCloseOK{})
			}
			c.send(1, &wire.ChannelCloseOK{})
			c.openChannel(1)
			c.hangUp()
			b.nothingLeft()
		})
	}
}
