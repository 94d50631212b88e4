package integration

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tridge/integration/gateway"
)

// raw is a socket without a client library.
type raw struct {
	net.Conn
}

func dialRaw(t *testing.T, address string) raw {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * patience))
	return raw{conn}
}

// say sends bytes. The gateway may have closed the connection already: what it said then is what counts.
func (r raw) say(data ...string) {
	_, _ = io.WriteString(r, strings.Join(data, ""))
}

// hear returns the next n bytes.
func (r raw) hear(t *testing.T, n int) string {
	t.Helper()
	data := make([]byte, n)
	if got, err := io.ReadFull(r, data); err != nil {
		t.Fatalf("after %q: %v", data[:got], err)
	}
	return string(data)
}

// rest returns everything until the gateway closes the connection.
func (r raw) rest(t *testing.T) string {
	t.Helper()
	data, err := io.ReadAll(r)
	if network, ok := errors.AsType[net.Error](err); ok && network.Timeout() {
		t.Fatalf("the gateway does not close the connection; it said %q", data)
	}
	return string(data) // a reset instead of an end comes of bytes that the gateway did not read
}

const amqpHeader = "AMQP\x00\x00\x09\x01"

// amqpFrame is a frame of AMQP: type, channel, payload.
func amqpFrame(kind byte, channel uint16, payload string) string {
	frame := binary.BigEndian.AppendUint16([]byte{kind}, channel)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(payload)))
	return string(frame) + payload + "\xce"
}

// amqpMethod is a method frame with its arguments as they are on the wire.
func amqpMethod(channel uint16, class, method uint16, arguments string) string {
	id := binary.BigEndian.AppendUint16(nil, class)
	id = binary.BigEndian.AppendUint16(id, method)
	return amqpFrame(1, channel, string(id)+arguments)
}

// hearPayload returns the payload of the next frame.
func (r raw) hearPayload(t *testing.T) string {
	t.Helper()
	head := r.hear(t, 7)
	payload := r.hear(t, int(binary.BigEndian.Uint32([]byte(head[3:7]))))
	r.hear(t, 1)
	return payload
}

// hearFrame returns the class, the method and the payload of the next frame, which is one of a method.
func (r raw) hearFrame(t *testing.T) (class, method uint16, payload string) {
	t.Helper()
	payload = r.hearPayload(t)
	return binary.BigEndian.Uint16([]byte(payload)), binary.BigEndian.Uint16([]byte(payload[2:])), payload
}

// openAMQP connects as guest and opens channel 1.
func openAMQP(t *testing.T, g *gateway.Process) raw {
	t.Helper()
	r := dialRaw(t, g.AMQP())
	r.say(amqpHeader)
	r.hearFrame(t) // connection.start
	r.say(amqpMethod(0, 10, 11, "\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x0c\x00guest\x00guest\x05en_US"))
	r.hearFrame(t)                                                   // connection.tune
	r.say(amqpMethod(0, 10, 31, "\x00\x10\x00\x02\x00\x00\x00\x00")) // 16 channels, frames of 128 KiB, no heart-beat
	r.say(amqpMethod(0, 10, 40, "\x01/\x00\x00"), amqpMethod(1, 20, 10, "\x00"))
	r.hearFrame(t) // connection.open-ok
	if class, method, _ := r.hearFrame(t); class != 20 || method != 11 {
		t.Fatalf("channel.open was answered with %d.%d", class, method)
	}
	return r
}

// openSTOMP connects as guest in version 1.2.
func openSTOMP(t *testing.T, g *gateway.Process) raw {
	t.Helper()
	r := dialRaw(t, g.STOMP())
	r.say("CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n\n\x00")
	if got := r.hear(t, len("CONNECTED\n")); got != "CONNECTED\n" {
		t.Fatalf("CONNECT was answered with %q", got)
	}
	for r.hear(t, 1) != "\x00" {
	}
	r.hear(t, len("\n")) // behind every frame
	return r
}

// mqttConnect is a CONNECT of that protocol level, with a clean session and without a user name.
func mqttConnect(level byte, id string) string {
	body := "\x00\x04MQTT" + string([]byte{level, 2, 0, 60})
	if level == 5 {
		body += "\x00"
	}
	body += string([]byte{0, byte(len(id))}) + id
	return "\x10" + string([]byte{byte(len(body))}) + body
}

// openMQTT connects.
func openMQTT(t *testing.T, g *gateway.Process, level byte) raw {
	t.Helper()
	r := dialRaw(t, g.MQTT())
	r.say(mqttConnect(level, name("raw")))
	head := r.hear(t, 2)
	if rest := r.hear(t, int(head[1])); head[0] != 0x20 || rest[1] != 0 {
		t.Fatalf("CONNECT was answered with %x %x", head, rest)
	}
	return r
}
