package amqp

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
	"tridge/core/session"
)

// lies are tables that are not what they say, each with its length before it.
var lies = map[string]string{
	"longer than the frame":       "\x00\x00\x00\x10\x01aS\x00\x00\x00\x00",
	"shorter than its fields":     "\x00\x00\x00\x05\x01aS\x00\x00\x00\x00",
	"as long as can be":           "\xff\xff\xff\xff\x01aS\x00\x00\x00\x00",
	"name over the end":           "\x00\x00\x00\x03\x09aS",
	"no type":                     "\x00\x00\x00\x02\x01a",
	"no value":                    "\x00\x00\x00\x03\x01aI",
	"half a value":                "\x00\x00\x00\x05\x01aI\x00\x00",
	"a text over the end":         "\x00\x00\x00\x07\x01aS\x00\x00\x00\x01",
	"a text as long as can be":    "\x00\x00\x00\x08\x01aS\xff\xff\xff\xff\x00",
	"an array over the end":       "\x00\x00\x00\x08\x01aA\x00\x00\x00\x02t",
	"an array of half a value":    "\x00\x00\x00\x08\x01aA\x00\x00\x00\x01I",
	"an array of what is unknown": "\x00\x00\x00\x08\x01aA\x00\x00\x00\x01?",
	"a table over the end":        "\x00\x00\x00\x08\x01aF\x00\x00\x00\x02\x01",
	"a table of half a field":     "\x00\x00\x00\x08\x01aF\x00\x00\x00\x01\x01",
	"bytes over the end":          "\x00\x00\x00\x07\x01ax\x00\x00\x00\x01",
	"a type that does not exist":  "\x00\x00\x00\x04\x01a?\x00",
	"deeper than deep":            nestedTable(64),
	"arrays deeper than deep":     nestedArray(64),
}

func nestedTable(depth int) string {
	fields := message.Headers{}
	for range depth {
		fields = message.AppendField(message.Headers{}, "n", message.TableValue(fields))
	}
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(fields)))) + string(fields)
}

func nestedArray(depth int) string {
	v := message.ArrayValue()
	for range depth {
		v = message.ArrayValue(v)
	}
	fields := message.AppendField(message.Headers{}, "n", v)
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(fields)))) + string(fields)
}

// TestEveryMethodWithBadArguments: cut off at every octet, with octets left over, with tables that lie.
func TestEveryMethodWithBadArguments(t *testing.T) {
	before := heap()
	for _, m := range everyMethod(t) {
		id, channel := m.ID(), uint16(1)
		if ofTheServer(m) || id == wire.IDChannelCloseOK || id == wire.IDChannelOpen { // they are not looked at
			continue
		}
		if ofConnection(m) {
			if channel = 0; id != wire.IDConnectionClose && id != wire.IDConnectionUpdateSecret {
				continue
			}
		}
		t.Run(id.String(), func(t *testing.T) {
			name := string(binary.BigEndian.AppendUint32(nil, uint32(id)))
			arguments := string(m.Append(nil))
			bad := map[string]string{"octets left over": arguments + "\x00"}
			for n := range len(arguments) {
				bad[fmt.Sprintf("%d of %d octets", n, len(arguments))] = arguments[:n]
			}
			if table := string(m.Append(nil)); strings.HasSuffix(table, "\x00\x00\x00\x0f\x04nameS\x00\x00\x00\x05value") {
				for what, lie := range lies {
					bad[what] = strings.TrimSuffix(table, "\x00\x00\x00\x0f\x04nameS\x00\x00\x00\x05value") + lie
				}
			}
			for what, said := range bad {
				violation{what, frame(wire.FrameMethod, channel, name+said), end{0, wire.FrameError, id}}.commit(t)
			}
		})
	}
	if left := heap() - before; left > 1<<20 {
		t.Errorf("%d bytes are left behind", left)
	}
}

// TestBadContentHeaders: cut off at every octet, with octets left over, with tables that lie.
func TestBadContentHeaders(t *testing.T) {
	publish := string((&wire.BasicPublish{RoutingKey: "q"}).AppendFrame(nil, 1))
	h := wire.ContentHeader{Class: 60, Size: 0, Properties: wire.BasicProperties{
		Flags:       wire.FlagContentType | wire.FlagHeaders | wire.FlagDeliveryMode | wire.FlagTimestamp | wire.FlagClusterID,
		ContentType: "text/plain", Headers: text("name", "value"), DeliveryMode: 2, Timestamp: 1, ClusterID: "c",
	}}
	whole := h.AppendFrame(nil, 1)
	payload := string(whole[7 : len(whole)-1])
	bad := map[string]string{"octets left over": payload + "\x00"}
	// The fourteen properties need one word of flags: the fifteenth bit names none, the last says that another word follows.
	bad["flags that go on"], bad["a fifteenth property"] = payload[:12]+"\x00\x01\x00\x00", payload[:12]+"\x00\x02"
	for n := range len(payload) {
		bad[fmt.Sprintf("%d of %d octets", n, len(payload))] = payload[:n]
	}
	for what, lie := range lies {
		bad[what] = payload[:12] + "\x20\x00" + lie
	}
	for what, said := range bad {
		violation{what, []byte(publish + string(frame(wire.FrameHeader, 1, said))), end{0, wire.SyntaxError, wire.IDBasicPublish}}.commit(t)
	}
}

// TestTextsThatAreNotUTF8 are refused or taken as the octets they are, method by method, and end nothing else.
func TestTextsThatAreNotUTF8(t *testing.T) {
	const odd = "\xff\xfe\xc0\x80"
	for _, m := range everyMethod(t) {
		if ofTheServer(m) || ofConnection(m) || m.ID().Class() == wire.IDChannelOpen.Class() {
			continue
		}
		v, texts := reflect.ValueOf(m).Elem(), 0
		for i := range v.NumField() {
			switch f := v.Field(i); f.Kind() {
			case reflect.String:
				f.SetString(odd)
				texts++
			case reflect.Bool:
				f.SetBool(false)
			case reflect.Slice:
				f.Set(reflect.ValueOf(text(odd, odd)))
			}
		}
		if texts == 0 {
			continue
		}
		want := map[wire.ID]wire.Code{
			wire.IDExchangeDeclare: wire.CommandInvalid, // the type
			wire.IDExchangeBind:    wire.NotFound, wire.IDExchangeUnbind: 0, wire.IDExchangeDelete: 0,
			wire.IDQueueDeclare: wire.PreconditionFailed, wire.IDQueueBind: wire.NotFound, wire.IDQueuePurge: wire.NotFound,
			wire.IDQueueDelete: 0, wire.IDQueueUnbind: 0,
			wire.IDBasicConsume: wire.NotFound, wire.IDBasicCancel: 0, wire.IDBasicGet: wire.NotFound, wire.IDBasicPublish: wire.NotFound,
		}
		code, known := want[m.ID()]
		if !known {
			t.Errorf("%s is not in the table", m.ID())
		}
		inBubble(t, Limits{}, func(b *bench) {
			b.server.config.Sessions = session.NewRegistry()
			c := b.dial()
			c.encumber()
			c.openChannel(4)
			c.send(4, m)
			if m.ID() == wire.IDBasicPublish {
				c.write(header(4, 60, 0))
			}
			if code == 0 { // taken, and answered
				c.next()
				c.hangUp()
				b.nothingLeft()
				return
			}
			channel := uint16(4)
			if code.Hard() {
				channel = 0
			}
			if got, err := c.until(); err != nil || got != (end{channel, code, m.ID()}) {
				t.Errorf("%s: %v, %v; want %d", m.ID(), got, err, code)
			}
			if channel == 0 {
				c.send(0, &wire.ConnectionCloseOK{})
				c.ended()
			} else {
				c.send(4, &wire.ChannelCloseOK{})
				c.hangUp()
			}
			b.nothingLeft()
		})
	}
}
