package websocket

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	client "github.com/coder/websocket"
)

// patience is how long a test waits for what should happen at once.
const patience = 20 * time.Second

// bench is a server on loopback.
type bench struct {
	*testing.T
	server  *Server
	address string
	ended   chan error // of ServeConn
}

// echo answers what it reads.
func echo(ctx context.Context, c net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer c.Close()
	_, err := io.Copy(c, c)
	return err
}

func newBench(t *testing.T, change func(*Server)) *bench {
	t.Helper()
	s := &Server{
		Routes: []Route{
			{Paths: []string{"/mqtt", "/ws"}, Protocols: []string{"mqtt", "mqttv3.1"}, Serve: echo},
			{Paths: []string{"/stomp", "/ws"}, Protocols: []string{"v12.stomp", "v11.stomp"}, Unnamed: true, Text: true, Serve: echo},
		},
		Origins: []string{"https://app.example.com"}, MessageSize: 1 << 20, Handshake: patience,
	}
	if change != nil {
		change(s)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t, s, ln.Addr().String(), make(chan error, 100)}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				err := s.ServeConn(ctx, c)
				_ = c.Close()
				b.ended <- err
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		cancel()
		all.Wait()
	})
	return b
}

func (b *bench) context() context.Context {
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	b.Cleanup(cancel)
	return ctx
}

// dial connects as the library of somebody else does.
func (b *bench) dial(path string, protocols ...string) *client.Conn {
	b.Helper()
	c, _, err := client.Dial(b.context(), "ws://"+b.address+path, &client.DialOptions{Subprotocols: protocols})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(-1)
	return c
}

// raw connects and sends bytes.
func (b *bench) raw(text string) net.Conn {
	b.Helper()
	c, err := net.Dial("tcp", b.address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text); err != nil {
		b.Fatal(err)
	}
	return c
}

const request = "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

// upgraded connects by hand and returns what comes behind the answer.
func (b *bench) upgraded(protocol, behind string) (net.Conn, *bufio.Reader) {
	b.Helper()
	c := b.raw(request + "Sec-WebSocket-Protocol: " + protocol + "\r\n\r\n" + behind)
	r := bufio.NewReader(c)
	answer, err := http.ReadResponse(r, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		b.Fatal(answer, err)
	}
	return c, r
}

func TestUpgrade(t *testing.T) {
	edit := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(request) + "\r\n" }
	for _, test := range []struct {
		name, request string
		status        int
		header, value string
	}{
		{"the sample of the RFC", edit(), 101, "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		{"no name", edit(), 101, "Sec-WebSocket-Protocol", ""},
		{"the client's first choice that is spoken", request + "Sec-WebSocket-Protocol: amqp, v11.stomp\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n", 101, "Sec-WebSocket-Protocol", "v11.stomp"},
		{"3.1", request + "Sec-WebSocket-Protocol: mqttv3.1\r\n\r\n", 101, "Sec-WebSocket-Protocol", "mqttv3.1"},
		{"of another path", edit("/ws", "/stomp", "Host", "Sec-WebSocket-Protocol: mqtt\r\nHost"), 400, "", ""},
		{"MQTT without a name", edit("/ws", "/mqtt"), 400, "", ""},
		{"an unknown path", edit("/ws", "/nowhere"), 404, "", ""},
		{"with a query", edit("/ws", "/ws?token=1"), 101, "Connection", "Upgrade"},
		{"the same host at another port", edit("Host: 127.0.0.1", "Origin: http://127.0.0.1:3000\r\nHost: 127.0.0.1:15675"), 101, "Connection", "Upgrade"},
		{"an origin that is listed", edit("Host", "Origin: https://APP.example.com\r\nHost"), 101, "Connection", "Upgrade"},
		{"another origin", edit("Host", "Origin: https://evil.example.com\r\nHost"), 403, "", ""},
		{"a name that was made to lead here", edit("Host: 127.0.0.1", "Origin: http://evil.example.com\r\nHost: evil.example.com"), 403, "", ""},
		{"localhost by its name", edit("Host: 127.0.0.1", "Origin: http://localhost\r\nHost: localhost:15675"), 101, "Connection", "Upgrade"},
		{"a page without an origin", edit("Host", "Origin: null\r\nHost"), 403, "", ""},
		{"no upgrade", "GET /ws HTTP/1.1\r\nHost: a\r\n\r\n", 426, "Upgrade", "websocket"},
		{"version 8", edit("Version: 13", "Version: 8"), 400, "Sec-WebSocket-Version", "13"},
		{"a short key", edit("dGhlIHNhbXBsZSBub25jZQ==", "dGhl"), 400, "", ""},
		{"POST", edit("GET", "POST"), 405, "", ""},
		{"HTTP/1.0", edit("HTTP/1.1", "HTTP/1.0"), 426, "", ""},
		{"a body", edit("Host", "Content-Length: 5\r\nHost"), 400, "", ""},
		{"not HTTP", "\x10\x2e\x00\x04MQTT\x04\x02\x00\x3c\r\n\r\n", 400, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, nil)
			c := b.raw(test.request)
			answer, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != test.status || answer.Header.Get(test.header) != test.value || test.header == "" && !answer.Close {
				t.Errorf("%d, %q", answer.StatusCode, answer.Header)
			}
			_ = c.Close()
			err = <-b.ended
			if _, refused := errors.AsType[*refusal](err); refused != (test.status != 101) {
				t.Errorf("the session ended with %v", err)
			}
		})
	}
}

// TestSlowRequestsEnd: a request that does not come, or dribbles, or does not end, is no connection.
func TestSlowRequestsEnd(t *testing.T) {
	b := newBench(t, func(s *Server) { s.Handshake = 150 * time.Millisecond })
	for _, begin := range []string{"", "GET", request, request + "X-Long: " + strings.Repeat("x", 10_000)} {
		c := b.raw(begin)
		if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%.20q: %v", begin, err)
		}
		if err := <-b.ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%.20q: %v", begin, err)
		}
	}
	answer, err := http.ReadResponse(bufio.NewReader(b.raw(request+"X-Long: "+strings.Repeat("x", maxRequest))), nil)
	if err != nil || answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a request without end: %v, %v", answer, err)
	}
}

func TestMessagesAreEchoedInKind(t *testing.T) {
	b := newBench(t, nil)
	for _, test := range []struct {
		name, path, protocol string
		kind                 client.MessageType
		payload              []byte
		want                 client.MessageType
	}{
		{"text", "/stomp", "v12.stomp", client.MessageText, []byte("Grüße\x00\n"), client.MessageText},
		{"binary", "/stomp", "v12.stomp", client.MessageBinary, []byte("Grüße\x00\n"), client.MessageBinary},
		{"MQTT", "/mqtt", "mqtt", client.MessageBinary, []byte("plain"), client.MessageBinary},
		{"large", "/ws", "mqtt", client.MessageBinary, bytes.Repeat([]byte("0123456789"), 50_000), client.MessageBinary},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := b.dial(test.path, test.protocol)
			if c.Subprotocol() != test.protocol {
				t.Errorf("sub-protocol %q", c.Subprotocol())
			}
			done := make(chan error, 1)
			go func() { done <- c.Write(b.context(), test.kind, test.payload) }()
			var got []byte
			for len(got) < len(test.payload) {
				kind, part, err := c.Read(b.context())
				if err != nil || kind != test.want {
					t.Fatal(kind, err)
				}
				got = append(got, part...)
			}
			if err := <-done; err != nil || !bytes.Equal(got, test.payload) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if err := c.Close(client.StatusNormalClosure, "bye"); err != nil {
				t.Errorf("close: %v", err)
			}
			if err := <-b.ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWhatIsNotUTF8IsBinary: a text message with anything else in it would end the connection of a browser.
func TestWhatIsNotUTF8IsBinary(t *testing.T) {
	b := newBench(t, func(s *Server) {
		s.Routes[1].Serve = func(_ context.Context, c net.Conn) error {
			_, err := c.Write([]byte("\xff"))
			return errors.Join(err, c.Close())
		}
	})
	c := b.dial("/ws")
	if kind, got, err := c.Read(b.context()); kind != client.MessageBinary || string(got) != "\xff" || err != nil {
		t.Error(kind, got, err)
	}
	if _, _, err := c.Read(b.context()); client.CloseStatus(err) != client.StatusNormalClosure {
		t.Error(err)
	}
}

func TestPingsAreAnswered(t *testing.T) {
	b := newBench(t, nil)
	c := b.dial("/mqtt", "mqtt")
	_ = c.CloseRead(b.context())
	for range 3 {
		if err := c.Ping(b.context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestViolationsCloseWithTheirCode: the peer is told, and nothing follows.
func TestViolationsCloseWithTheirCode(t *testing.T) {
	b := newBench(t, func(s *Server) {
		s.Routes[0].Serve = func(_ context.Context, c net.Conn) error {
			_, err := io.Copy(io.Discard, c)
			return errors.Join(err, c.Close())
		}
	})
	for _, test := range []struct {
		name, frame string
		code        string
		end         uint16 // what the session ends with: 0 for nothing
	}{
		{"text for MQTT", masked(fin|opText, "a"), "\x03\xeb", 1003},
		{"reserved bits", masked(fin|rsv|opBinary, "a"), "\x03\xea", 1002},
		{"too big", masked(fin|opBinary, strings.Repeat("x", 1<<20+2)), "\x03\xf1", 1009},
		{"closed by the peer", masked(opClose, "\x0f\xa0because"), "\x0f\xa0", 0},
		{"closed by the peer without a word", masked(opClose, ""), "", 0},
		{"closed with a code that is not sent", masked(opClose, "\x03\xee"), "\x03\xea", 1002},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, r := b.upgraded("mqtt", test.frame)
			head := make([]byte, 2)
			if _, err := io.ReadFull(r, head); err != nil || head[0] != opClose {
				t.Fatalf("% x, %v", head, err)
			}
			rest, err := io.ReadAll(r)
			if err != nil || len(rest) != int(head[1]) {
				t.Errorf("%q, %v", rest, err)
			}
			_ = c.Close()
			if string(rest[:min(len(rest), 2)]) != test.code {
				t.Errorf("closed with %q", rest)
			}
			err = <-b.ended
			if e, ok := errors.AsType[*CloseError](err); ok != (test.end != 0) || ok && e.Code != test.end {
				t.Errorf("the session ended with %v", err)
			}
		})
	}
}

// TestWhatComesWithTheRequestIsRead: a client need not wait for the answer with its first frames.
func TestWhatComesWithTheRequestIsRead(t *testing.T) {
	b := newBench(t, nil)
	_, r := b.upgraded("mqtt", masked(fin|opBinary, "early"))
	got := make([]byte, 7)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "\x82\x05early" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestSilentPeersAreAskedAndGivenUp: who answers stays, who does not is cut.
func TestSilentPeersAreAskedAndGivenUp(t *testing.T) {
	b := newBench(t, func(s *Server) { s.Ping = 20 * time.Millisecond })
	alive := b.dial("/mqtt", "mqtt")
	_ = alive.CloseRead(b.context()) // it answers pings
	_, dead := b.upgraded("mqtt", "")
	got, err := io.ReadAll(dead)
	if err != nil && !strings.Contains(err.Error(), "reset") || !bytes.HasPrefix(got, []byte{opPing, 0, opPing, 0}) {
		t.Errorf("% x, %v", got, err)
	}
	<-b.ended
	select {
	case err := <-b.ended:
		t.Errorf("the one that answers was cut: %v", err)
	default:
	}
	if err := alive.Ping(b.context()); err != nil {
		t.Error(err)
	}
}
