package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
)

// violation is something no client library can be had to say.
type violation struct {
	name string
	say  []byte
	tune *wire.ConnectionTuneOK // instead of what the server proposes; nothing else is said then
}

// patience is how long an answer may take, afterthought how long an error may that comes after it.
const (
	patience     = 15 * time.Second
	afterthought = 300 * time.Millisecond
)

func frameOf(kind byte, channel uint16, payload string) []byte {
	f := []byte{kind, byte(channel >> 8), byte(channel), byte(len(payload) >> 24), byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload))}
	return append(append(f, payload...), wire.FrameEnd)
}

func methodOf(channel uint16, class, method uint16, arguments string) []byte {
	return frameOf(wire.FrameMethod, channel, string([]byte{byte(class >> 8), byte(class), byte(method >> 8), byte(method)})+arguments)
}

func methods(channel uint16, list ...wire.Method) (b []byte) {
	for _, m := range list {
		b = m.AppendFrame(b, channel)
	}
	return b
}

func violations() []violation {
	const queueDeclare = "\x00\x00\x01q\x00" // up to the length of the arguments
	publish := methods(1, &wire.BasicPublish{RoutingKey: "none"})
	header := func(class uint16, weight byte, size uint64, properties string) []byte {
		payload := string([]byte{byte(class >> 8), byte(class), 0, weight})
		for shift := 56; shift >= 0; shift -= 8 {
			payload += string([]byte{byte(size >> shift)})
		}
		return frameOf(wire.FrameHeader, 1, payload+properties)
	}
	with := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	none := "\x00\x00"
	return append(everyMethod(), []violation{
		{name: "header without a method", say: header(60, 0, 0, none)},
		{name: "body without a method", say: frameOf(wire.FrameBody, 1, "x")},
		{name: "method instead of a header", say: with(publish, methods(1, &wire.BasicQos{}))},
		{name: "method instead of a body", say: with(publish, header(60, 0, 5, none), methods(1, &wire.BasicQos{}))},
		{name: "body instead of a header", say: with(publish, frameOf(wire.FrameBody, 1, "x"))},
		{name: "header instead of a body", say: with(publish, header(60, 0, 5, none), header(60, 0, 5, none))},
		{name: "header of another class", say: with(publish, header(50, 0, 5, none))},
		{name: "header with a weight", say: with(publish, header(60, 1, 0, none))},
		{name: "body longer than announced", say: with(publish, header(60, 0, 2, none), frameOf(wire.FrameBody, 1, "abc"))},
		{name: "body over the limit", say: with(publish, header(60, 0, 1<<40, none))},
		{name: "empty body frame", say: with(publish, header(60, 0, 2, none), frameOf(wire.FrameBody, 1, ""), frameOf(wire.FrameBody, 1, "ab"))},
		{name: "properties cut off", say: with(publish, header(60, 0, 0, "\x80\x00\x05ab"))},
		{name: "properties that go on", say: with(publish, header(60, 0, 0, "\x80\x01\x00\x00\x01a"))},
		{name: "properties that go on with nothing", say: with(publish, header(60, 0, 0, "\x00\x01\x00\x00"))},
		{name: "a fifteenth property", say: with(publish, header(60, 0, 0, "\x00\x02"))},
		{name: "properties and more", say: with(publish, header(60, 0, 0, "\x00\x00more"))},
		{name: "header table that lies", say: with(publish, header(60, 0, 0, "\x20\x00\x00\x00\x00\xff\x01aS\x00\x00\x00\x00"))},
		{name: "header of three octets", say: with(publish, frameOf(wire.FrameHeader, 1, "\x00\x3c\x00"))},
		{name: "heartbeat on a channel", say: frameOf(wire.FrameHeartbeat, 1, "")},
		{name: "heartbeat with a payload", say: frameOf(wire.FrameHeartbeat, 0, "x")},
		{name: "unknown frame type", say: frameOf(4, 1, "x")},
		{name: "unknown frame type on channel 0", say: frameOf(9, 0, "x")},
		{name: "frame without its end", say: append(frameOf(wire.FrameMethod, 1, "\x00\x3c\x00\x0a\x00\x00\x00\x00\x00\x00\x00")[:18], 0)},
		{name: "frame over the limit", say: []byte("\x01\x00\x01\x7f\xff\xff\xff")},
		{name: "header on channel 0", say: frameOf(wire.FrameHeader, 0, "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")},
		{name: "body on channel 0", say: frameOf(wire.FrameBody, 0, "x")},
		{name: "channel that is not open", say: methods(7, &wire.BasicQos{})},
		{name: "body on a channel that is not open", say: frameOf(wire.FrameBody, 7, "x")},
		{name: "channel opened twice", say: methods(1, &wire.ChannelOpen{})},
		{name: "channel over the limit", say: methods(2048, &wire.ChannelOpen{})},
		{name: "connection method on a channel", say: methods(1, &wire.ConnectionClose{})},
		{name: "channel method on channel 0", say: methods(0, &wire.BasicQos{})},
		{name: "channel.open on channel 0", say: methods(0, &wire.ChannelOpen{})},
		{name: "unknown class", say: methodOf(1, 99, 10, "")},
		{name: "unknown method", say: methodOf(1, 60, 999, "")},
		{name: "unknown method on channel 0", say: methodOf(0, 10, 999, "")},
		{name: "method of no octets", say: frameOf(wire.FrameMethod, 1, "")},
		{name: "method of three octets", say: frameOf(wire.FrameMethod, 1, "\x00\x3c\x00")},
		{name: "arguments cut off", say: methodOf(1, 50, 10, "\x00\x00\xffabc")},
		{name: "arguments and more", say: methodOf(1, 60, 10, "\x00\x00\x00\x00\x00\x00\x00more")},
		{name: "table that lies", say: methodOf(1, 50, 10, queueDeclare+"\x00\x00\x00\xff\x01aS\x00\x00\x00\x00")},
		{name: "text in a table that lies", say: methodOf(1, 50, 10, queueDeclare+"\x00\x00\x00\x08\x01aS\xff\xff\xff\xff\x00")},
		{name: "unknown type in a table", say: methodOf(1, 50, 10, queueDeclare+"\x00\x00\x00\x04\x01a?\x00")},
		{name: "connection.open again", say: methods(0, &wire.ConnectionOpen{VirtualHost: "/"})},
		{name: "connection.start-ok again", say: methods(0, &wire.ConnectionStartOK{Mechanism: "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US"})},
		{name: "connection.tune-ok again", say: methods(0, &wire.ConnectionTuneOK{})},
		{name: "connection.close-ok for nothing", say: methods(0, &wire.ConnectionCloseOK{})},
		{name: "channel.close-ok for nothing", say: methods(1, &wire.ChannelCloseOK{})},
		{name: "channel.close-ok on a closed channel", say: methods(7, &wire.ChannelCloseOK{})},
		{name: "a server's method", say: methods(1, &wire.BasicCancelOK{ConsumerTag: "t"})},
		{name: "a server's method with content", say: methods(1, &wire.BasicGetEmpty{})},
		{name: "channel.flow-ok for nothing", say: methods(1, &wire.ChannelFlowOK{Active: true})},
		{name: "access.request", say: methodOf(1, 30, 10, "\x05/data\x1f")},
		{name: "publish after channel.close", say: with(methods(1, &wire.ChannelClose{}), publish)},
		{name: "queue name that is not UTF-8", say: methodOf(1, 50, 10, "\x00\x00\x02\xff\xfe\x02\x00\x00\x00\x00")},
		{name: "exchange name that is not UTF-8", say: methodOf(1, 40, 10, "\x00\x00\x02\xff\xfe\x06direct\x04\x00\x00\x00\x00")},
		{name: "frame-max too high", tune: &wire.ConnectionTuneOK{FrameMax: 131073}},
		{name: "frame-max too low", tune: &wire.ConnectionTuneOK{FrameMax: 4095}},
		{name: "channel-max too high", tune: &wire.ConnectionTuneOK{ChannelMax: 65535}},
	}...)
}

// everyMethod says every method of the specification, without a value in any field, where it does not belong, and those of
// a channel's client with an octet too many and one too few.
func everyMethod() (list []violation) {
	for class := uint32(0); class < 128; class++ {
		for method := uint32(0); method < 256; method++ {
			m, _ := wire.Decode(binary.BigEndian.AppendUint32(nil, class<<16|method))
			if m == nil {
				continue
			}
			name := m.ID().String()
			add := func(what string, say []byte) { list = append(list, violation{name: name + " " + what, say: say}) }
			add("where a header is due", append(methods(1, &wire.BasicPublish{RoutingKey: "none"}), methods(1, m)...))
			connection := class == uint32(wire.IDConnectionStart.Class())
			if !connection {
				add("on channel 0", methods(0, m))
			}
			if m.ID() != wire.IDChannelOpen {
				add("on a channel that is not open", methods(7, m))
			}
			if connection || strings.HasSuffix(name, "-ok") {
				add("from a client on a channel", methods(1, m))
			}
			arguments := string(m.Append(nil))
			if connection || strings.HasSuffix(name, "-ok") || class == uint32(wire.IDChannelOpen.Class()) {
				continue
			}
			add("and an octet more", methodOf(1, m.ID().Class(), m.ID().Method(), arguments+"\x00"))
			if arguments != "" {
				add("without its last octet", methodOf(1, m.ID().Class(), m.ID().Method(), arguments[:len(arguments)-1]))
			}
		}
	}
	return list
}

// violate commits v and returns what it was answered with.
func violate(t *target, v violation) (string, error) {
	socket, err := net.DialTimeout("tcp", t.amqp, patience)
	if err != nil {
		return "", err
	}
	defer socket.Close()
	_ = socket.SetDeadline(time.Now().Add(patience))
	frames := wire.NewReader(socket, 1<<20)
	say := func(b []byte) { _, _ = socket.Write(b) } // who has closed already has said why
	say([]byte("AMQP\x00\x00\x09\x01"))
	if err := await(frames, &wire.ConnectionStart{}); err != nil {
		return "", err
	}
	var capabilities message.Headers
	capabilities = message.AppendField(capabilities, "authentication_failure_close", message.BoolValue(true))
	say(methods(0, &wire.ConnectionStartOK{
		ClientProperties: message.AppendTableField(message.Headers{}, "capabilities", capabilities),
		Mechanism:        "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US",
	}))
	var tune wire.ConnectionTune
	if err := await(frames, &tune); err != nil {
		return "", err
	}
	if v.tune != nil {
		say(methods(0, v.tune, &wire.ConnectionOpen{VirtualHost: "/"}))
		return verdict(socket, frames)
	}
	say(methods(0, &wire.ConnectionTuneOK{ChannelMax: tune.ChannelMax, FrameMax: tune.FrameMax}, &wire.ConnectionOpen{VirtualHost: "/"}))
	if err := await(frames, &wire.ConnectionOpenOK{}); err != nil {
		return "", err
	}
	say(methods(1, &wire.ChannelOpen{}))
	if err := await(frames, &wire.ChannelOpenOK{}); err != nil {
		return "", err
	}
	say(v.say)
	say(methods(1, &wire.QueueDelete{Queue: "violated", NoWait: true}, &wire.BasicQos{PrefetchCount: 1}))
	return verdict(socket, frames)
}

// await reads the next method, which must be m.
func await(frames *wire.Reader, m wire.Method) error {
	f, err := frames.Next()
	if err != nil {
		return err
	}
	id, arguments, err := wire.SplitMethod(f.Payload)
	if err != nil || id != m.ID() {
		return fmt.Errorf("%s instead of %s", id, m.ID())
	}
	return m.Decode(arguments)
}

// verdict reads until something is decided: code, class and method, for brokers put the same things in different words.
func verdict(socket net.Conn, frames *wire.Reader) (string, error) {
	answered := false
	for {
		f, err := frames.Next()
		var network net.Error
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
			return "closed without a word", nil
		case errors.As(err, &network) && network.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
			if answered {
				return "accepted", nil
			}
			return "silence", nil
		case err != nil:
			return "closed without a word", nil // reset
		}
		if f.Type != wire.FrameMethod {
			continue
		}
		m, err := wire.Decode(f.Payload)
		if err != nil {
			return "", err
		}
		switch m := m.(type) {
		case *wire.ChannelClose:
			return fmt.Sprintf("channel %d (%d, %d)", m.ReplyCode, m.ClassID, m.MethodID), nil
		case *wire.ConnectionClose:
			return fmt.Sprintf("connection %d (%d, %d)", m.ReplyCode, m.ClassID, m.MethodID), nil
		case *wire.BasicQosOK: // a broker that gives every channel a process of its own may still say no to another
			answered = true
			_ = socket.SetReadDeadline(time.Now().Add(afterthought))
		case *wire.ConnectionOpenOK, *wire.ConnectionCloseOK:
			return "accepted", nil
		}
	}
}
