package stomp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"tridge/adapters/stomp/wire"
	"tridge/core/auth"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
	"tridge/core/reply"
	"tridge/core/router"
)

// patienceOfTests is how long a test waits for what must come.
const patienceOfTests = 10 * time.Second

// house is a server over a router whose log is in memory.
type house struct {
	t      testing.TB
	log    *queuetest.Log
	router *router.Router
	server *Server
	book   *reply.Book
	stop   context.CancelFunc

	ctx      context.Context
	listener net.Listener
	ended    chan error // what ServeConn returned, in order
}

// newHouse returns a house that listens.
func newHouse(t *testing.T, change ...func(*Config)) *house {
	t.Helper()
	h := buildHouse(t, change...)
	var err error
	if h.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := h.listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { h.ended <- h.server.ServeConn(h.ctx, nc) })
		}
	})
	t.Cleanup(func() {
		h.stop()
		_ = h.listener.Close()
		all.Wait()
		h.nobodyHolds()
	})
	return h
}

// nobodyHolds checks that connections that have ended have settled everything.
func (h *house) nobodyHolds() {
	for _, q := range h.router.Queues() {
		if q.Unacked != 0 {
			h.t.Errorf("queue %s: %d messages are with nobody", q.Name, q.Unacked)
		}
	}
}

// buildHouse returns a house that does not listen.
func buildHouse(t testing.TB, change ...func(*Config)) *house {
	t.Helper()
	book, err := reply.NewBook(reply.NewSecret(), "/")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, log: queuetest.NewLog(), book: book, ended: make(chan error, 100)}
	discard := slog.New(slog.NewTextHandler(io.Discard, nil))
	id := uint32(0)
	h.router = router.New(router.Config{
		Name: "/", Log: h.log, Replies: book, Slog: discard,
		NextID: func() (uint32, []queue.Row) { id++; return id, nil },
	})
	config := Config{
		Login: func(_ context.Context, c auth.Credentials, vhost string) (*router.Router, auth.Identity, error) {
			if c.Named && string(c.Password) != c.User {
				return nil, auth.Identity{}, fmt.Errorf("%w: wrong password", auth.ErrRefused)
			}
			if vhost != "/" {
				return nil, auth.Identity{}, errors.New("no such virtual host")
			}
			return h.router, auth.Identity{User: "guest"}, nil
		},
		Replies: func(string) Replies { return book },
		Product: "Tridge/test",
		Log:     discard,
	}
	for _, f := range change {
		f(&config)
	}
	h.server = NewServer(config)
	h.ctx, h.stop = context.WithCancel(context.Background())
	t.Cleanup(h.stop)
	return h
}

// queue returns the queue of that name once it is there.
func (h *house) queue(name string) *queue.Local {
	h.t.Helper()
	var found *queue.Local
	h.eventually("queue "+name, func() bool {
		q, err := h.router.Queue(name, 0)
		found = q
		return err == nil
	})
	return found
}

func (h *house) eventually(what string, true func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patienceOfTests); !true(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("never: %s", what)
		}
	}
}

// client speaks frames as its test writes them.
type client struct {
	t      testing.TB
	conn   net.Conn
	reader *wire.Reader
}

func (h *house) dial() *client {
	h.t.Helper()
	conn, err := net.Dial("tcp", h.listener.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	return &client{h.t, conn, wire.NewReader(conn, wire.Limits{Headers: 100, HeaderBytes: 64 << 10, Body: 1 << 20})}
}

// connect dials and shakes hands in that version.
func (h *house) connect(v wire.Version) *client {
	h.t.Helper()
	c := h.dial()
	c.write("CONNECT\naccept-version:%s\nhost:/\nlogin:guest\npasscode:guest\n\n\x00", v)
	c.expect(wire.Connected, "version:"+v.String())
	c.reader.SetVersion(v)
	return c
}

// write sends bytes; format is Printf's.
func (c *client) write(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.conn, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next frame, which the test may keep.
func (c *client) next() *wire.Frame {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patienceOfTests))
	f, err := c.reader.Next()
	if err != nil {
		c.t.Fatal("no frame: ", err)
	}
	kept := &wire.Frame{Command: f.Command, Body: bytes.Clone(f.Body)}
	for _, h := range f.Headers {
		kept.Headers = append(kept.Headers, wire.Header{Name: strings.Clone(h.Name), Value: strings.Clone(h.Value)})
	}
	return kept
}

// expect returns the next frame, which has that command and among others those headers, "name:value".
func (c *client) expect(command string, headers ...string) *wire.Frame {
	c.t.Helper()
	f := c.next()
	if f.Command != command {
		c.t.Fatalf("got %s %v %q, want %s", f.Command, f.Headers, f.Body, command)
	}
	for _, h := range headers {
		name, want, _ := strings.Cut(h, ":")
		if got, ok := f.Get(name); !ok || got != want {
			c.t.Fatalf("%s has %s:%q, want %q; all: %v", command, name, got, want, f.Headers)
		}
	}
	return f
}

// message expects a MESSAGE with that body and returns it.
func (c *client) message(body string, headers ...string) *wire.Frame {
	c.t.Helper()
	f := c.expect(wire.Message, headers...)
	if string(f.Body) != body {
		c.t.Fatalf("got body %q, want %q", f.Body, body)
	}
	return f
}

// closed expects nothing more but the end of the connection.
func (c *client) closed() {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patienceOfTests))
	if f, err := c.reader.Next(); err != io.EOF {
		c.t.Fatalf("got %+v, %v; want the end of the connection", f, err)
	}
}

// quiet proves that the server has nothing to say: it answers a frame sent now before anything else.
func (c *client) quiet() {
	c.t.Helper()
	c.write("SEND\ndestination:/topic/nobody\nreceipt:quiet\n\n\x00")
	c.expect(wire.Receipt, "receipt-id:quiet")
}

func header(f *wire.Frame, name string) string {
	v, _ := f.Get(name)
	return v
}
