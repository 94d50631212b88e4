package integration

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// octets is a WebSocket spoken octet by octet (RFC 6455), with a mask of zeros.
type octets struct {
	t      *testing.T
	socket net.Conn
	in     *bufio.Reader
	answer *http.Response
}

const (
	textFrame   = 0x81
	binaryFrame = 0x82
)

// openOctets opens a WebSocket that offers the sub-protocol mqtt.
func openOctets(t *testing.T, address string) *octets {
	t.Helper()
	socket, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	_ = socket.SetDeadline(time.Now().Add(10 * time.Second))
	f := &octets{t: t, socket: socket, in: bufio.NewReader(socket)}
	f.write([]byte("GET /mqtt HTTP/1.1\r\nHost: " + address + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"))
	if f.answer, err = http.ReadResponse(f.in, nil); err != nil {
		t.Fatal(err)
	}
	if f.answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(f.answer.Status)
	}
	return f
}

func (f *octets) write(b []byte) {
	f.t.Helper()
	if _, err := f.socket.Write(b); err != nil {
		f.t.Fatal(err)
	}
}

// send sends one frame of at most 125 octets, which is a whole message.
func (f *octets) send(kind byte, payload ...byte) {
	f.t.Helper()
	f.write(append([]byte{kind, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...))
}

// receive reads n octets of binary octets, however they are cut.
func (f *octets) receive(n int) []byte {
	f.t.Helper()
	var got []byte
	for len(got) < n {
		kind, payload, err := f.next()
		if err != nil || kind&0x0f != 2 && kind&0x0f != 0 {
			f.t.Fatalf("frame 0x%02X, %v, after % X", kind, err, got)
		}
		got = append(got, payload...)
	}
	return got
}

func (f *octets) next() (kind byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(f.in, head[:]); err != nil {
		return 0, nil, err
	}
	size := int(head[1])
	if size == 126 {
		var long [2]byte
		if _, err := io.ReadFull(f.in, long[:]); err != nil {
			return 0, nil, err
		}
		size = int(binary.BigEndian.Uint16(long[:]))
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(f.in, payload)
	return head[0], payload, err
}

// The numbered statements of MQTT 3.1.1 and 5.0 about WebSocket that bind a server.
func TestStatementsOfMQTTOverWebSocket(t *testing.T) {
	g := configuredWith(t, `listeners: {ws: "127.0.0.1:0"}`)
	connect := []byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'w'}
	connack := []byte{0x20, 2, 0, 0}
	t.Run("MQTT-6.0.0-1", func(t *testing.T) { // a frame that is not binary ends the connection
		for _, connected := range []bool{false, true} {
			f := openOctets(t, g.Address("ws"))
			if connected {
				f.send(binaryFrame, connect...)
				f.receive(len(connack))
				f.send(textFrame, 0xC0, 0)
			} else {
				f.send(textFrame, connect...)
			}
			for {
				kind, _, err := f.next()
				if err != nil {
					if err != io.EOF {
						t.Errorf("connected %v: the connection is not closed: %v", connected, err)
					}
					break
				}
				if kind&0x0f != 8 {
					t.Fatalf("connected %v: answered by a frame 0x%02X", connected, kind)
				}
			}
		}
	})
	t.Run("MQTT-6.0.0-2", func(t *testing.T) { // packets and octets do not begin and end together
		f := openOctets(t, g.Address("ws"))
		f.send(binaryFrame, connect[:1]...)
		f.send(binaryFrame)
		f.send(binaryFrame, connect[1:9]...)
		f.send(binaryFrame, append(bytes.Clone(connect[9:]), 0xC0, 0, 0xC0)...)
		f.send(binaryFrame, 0, 0xC0, 0)
		want := append(bytes.Clone(connack), 0xD0, 0, 0xD0, 0, 0xD0, 0)
		if got := f.receive(len(want)); !bytes.Equal(got, want) {
			t.Errorf("got % X, want % X", got, want)
		}
	})
	t.Run("MQTT-6.0.0-4", func(t *testing.T) { // the sub-protocol that is chosen
		if got := openOctets(t, g.Address("ws")).answer.Header.Get("Sec-WebSocket-Protocol"); got != "mqtt" {
			t.Errorf("Sec-WebSocket-Protocol: %q", got)
		}
	})
}
