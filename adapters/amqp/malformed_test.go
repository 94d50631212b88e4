package amqp

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
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
