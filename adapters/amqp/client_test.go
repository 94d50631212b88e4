package amqp

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/auth"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
	"tridge/core/router"
	"tridge/core/session"
)

// bench is a server over a log in memory.
type bench struct {
	t      *testing.T
	log    *queuetest.Log
	router *router.Router
	server *Server
	gate   session.Gate
	ctx    context.Context
	drain  context.CancelFunc
}

// inBubble runs a conversation in virtual time.
func inBubble(t *testing.T, limits Limits, talk func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, limits)
		defer b.drain()
		talk(b)
	})
}

func newBench(t testing.TB, limits Limits) *bench {
	log := queuetest.NewLog()
	id := uint32(0)
	b := &bench{log: log}
	b.t, _ = t.(*testing.T)
	b.router = router.New(router.Config{
		Name: "/", Log: log, Slog: slog.New(slog.DiscardHandler), Replies: &fakeReplies{},
		NextID: func() (uint32, []queue.Row) { id++; return id, nil },
	})
	b.ctx, b.drain = context.WithCancel(context.Background())
	b.server = NewServer(Config{
		Login: func(_ context.Context, c auth.Credentials, vhost string) (*router.Router, auth.Identity, error) {
			switch {
			case string(c.Password) != "guest":
				return nil, auth.Identity{}, auth.ErrRefused
			case vhost != "/" && vhost != "":
				return nil, auth.Identity{}, errors.New("no such vhost")
			}
			return b.router, auth.Identity{User: c.User}, nil
		},
		Replies: func(string) Replies { return &fakeReplies{} },
		Gate:    &b.gate,
		Limits:  limits, Log: slog.New(slog.DiscardHandler), Version: "0.0.0", Cluster: "test",
	})
	return b
}

// fakeReplies names every address "exchange|key".
type fakeReplies struct{}

func (*fakeReplies) Token(exchange, key string) (string, bool) {
	return exchange + "|" + key, len(key) < 200
}

func (*fakeReplies) Resolve(token string) (exchange, key string, ok bool) {
	e, k, ok := bytes.Cut([]byte(token), []byte("|"))
	return string(e), string(k), ok
}

// client is a peer that says exactly what a test tells it to.
type client struct {
	t      *testing.T
	socket net.Conn
	frames *wire.Reader
	served chan error // what ServeConn returned
}

// connect opens a socket and says nothing.
func (b *bench) connect() *client {
	near, far := net.Pipe()
	c := &client{t: b.t, socket: near, frames: wire.NewReader(near, 1<<20), served: make(chan error, 1)}
	go func() { c.served <- b.server.ServeConn(b.ctx, far) }()
	b.t.Cleanup(func() { _ = near.Close() })
	return c
}

// dial connects and opens channel 1.
func (b *bench) dial() *client {
	c := b.connect()
	c.handshake(0)
	c.openChannel(1)
	return c
}

func (c *client) handshake(frameMax uint32) {
	c.t.Helper()
	c.write(protocolHeader[:])
	c.expect(0, &wire.ConnectionStart{})
	c.send(0, startOK("guest", "guest"))
	c.expect(0, &wire.ConnectionTune{})
	c.send(0, &wire.ConnectionTuneOK{FrameMax: frameMax, Heartbeat: 60})
	c.send(0, &wire.ConnectionOpen{VirtualHost: "/"})
	c.expect(0, &wire.ConnectionOpenOK{})
}

func startOK(user, password string) *wire.ConnectionStartOK {
	var capabilities, properties message.Headers
	for _, name := range []string{"authentication_failure_close", "consumer_cancel_notify", "connection.blocked"} {
		capabilities = message.AppendField(capabilities, name, message.BoolValue(true))
	}
	properties = message.AppendTableField(properties, "capabilities", capabilities)
	return &wire.ConnectionStartOK{ClientProperties: properties, Mechanism: "PLAIN", Response: "\x00" + user + "\x00" + password, Locale: "en_US"}
}

func (c *client) openChannel(number uint16) {
	c.t.Helper()
	c.send(number, &wire.ChannelOpen{})
	c.expect(number, &wire.ChannelOpenOK{})
}

func (c *client) write(b []byte) {
	c.t.Helper()
	_ = c.socket.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.socket.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *client) send(channel uint16, m wire.Method) {
	c.t.Helper()
	c.write(m.AppendFrame(nil, channel))
}

// call sends m on channel 1 and expects the answer.
func (c *client) call(m, answer wire.Method) {
	c.t.Helper()
	c.send(1, m)
	c.expect(1, answer)
}

// next returns the next frame that is not a heartbeat, its payload owned by the caller.
func (c *client) next() (wire.Frame, error) {
	_ = c.socket.SetReadDeadline(time.Now().Add(5 * time.Minute))
	for {
		f, err := c.frames.Next()
		if err != nil || f.Type != wire.FrameHeartbeat {
			f.Payload = bytes.Clone(f.Payload)
			return f, err
		}
	}
}

// expect reads the next frame, which must be the method m on the channel, into m.
func (c *client) expect(channel uint16, m wire.Method) {
	c.t.Helper()
	f, err := c.next()
	if err != nil {
		c.t.Fatalf("waiting for %s: %v", m.ID(), err)
	}
	id, arguments, _ := wire.SplitMethod(f.Payload)
	if f.Type != wire.FrameMethod || id != m.ID() || f.Channel != channel {
		got, _ := wire.Decode(f.Payload)
		c.t.Fatalf("got frame type %d on channel %d: %s %+v; want %s on channel %d", f.Type, f.Channel, id, got, m.ID(), channel)
	}
	if err := m.Decode(arguments); err != nil {
		c.t.Fatalf("%s: %v", id, err)
	}
}

// quiet checks that the server has nothing to say.
func (c *client) quiet() {
	c.t.Helper()
	synctest.Wait()
	_ = c.socket.SetReadDeadline(time.Now().Add(time.Millisecond))
	if f, err := c.frames.Next(); err == nil {
		got, _ := wire.Decode(f.Payload)
		c.t.Fatalf("unexpected frame type %d on channel %d: %+v", f.Type, f.Channel, got)
	}
}

// content is a header frame and its body.
type content struct {
	wire.ContentHeader
	body []byte
}

func (c *client) content() content {
	c.t.Helper()
	f, err := c.next()
	if err != nil || f.Type != wire.FrameHeader {
		c.t.Fatalf("waiting for a content header: frame type %d, %v", f.Type, err)
	}
	var got content
	if err := got.Decode(f.Payload); err != nil {
		c.t.Fatal(err)
	}
	for uint64(len(got.body)) < got.Size {
		f, err := c.next()
		if err != nil || f.Type != wire.FrameBody {
			c.t.Fatalf("waiting for a content body: frame type %d, %v", f.Type, err)
		}
		got.body = append(got.body, f.Payload...)
	}
	return got
}

// delivery expects basic.deliver with content on channel 1.
func (c *client) delivery() (wire.BasicDeliver, content) {
	c.t.Helper()
	var m wire.BasicDeliver
	c.expect(1, &m)
	return m, c.content()
}

// bodies expects deliveries with these bodies in this order and returns the delivery tag of the last.
func (c *client) bodies(want ...string) uint64 {
	c.t.Helper()
	tag := uint64(0)
	for _, body := range want {
		m, got := c.delivery()
		if string(got.body) != body {
			c.t.Fatalf("got %q, want %q", got.body, body)
		}
		tag = m.DeliveryTag
	}
	return tag
}

func (c *client) publish(exchange, key string, p wire.BasicProperties, body string) {
	c.t.Helper()
	b := (&wire.BasicPublish{Exchange: exchange, RoutingKey: key}).AppendFrame(nil, 1)
	b, _ = wire.AppendContent(b, 1, &p, []byte(body), wire.DefaultFrameMax)
	c.write(b)
}

// durable is what makes a message durable.
var durable = wire.BasicProperties{Flags: wire.FlagDeliveryMode, DeliveryMode: persistent}

// queue declares a durable queue and publishes bodies to it.
func (c *client) queue(name string, bodies ...string) {
	c.t.Helper()
	c.call(&wire.QueueDeclare{Queue: name, Durable: true}, &wire.QueueDeclareOK{})
	for _, body := range bodies {
		c.publish("", name, durable, body)
	}
}

// channelError expects channel.close with that code and text, and answers it.
func (c *client) channelError(code wire.Code, text string) {
	c.t.Helper()
	var m wire.ChannelClose
	c.expect(1, &m)
	if m.ReplyCode != uint16(code) || m.ReplyText != text {
		c.t.Fatalf("got %d %q, want %d %q", m.ReplyCode, m.ReplyText, code, text)
	}
	c.send(1, &wire.ChannelCloseOK{})
	c.openChannel(1)
}

// connectionError expects connection.close with that code and text and the end of the connection.
func (c *client) connectionError(code wire.Code, text string) {
	c.t.Helper()
	var m wire.ConnectionClose
	c.expect(0, &m)
	if m.ReplyCode != uint16(code) || m.ReplyText != text {
		c.t.Fatalf("got %d %q, want %d %q", m.ReplyCode, m.ReplyText, code, text)
	}
	c.send(0, &wire.ConnectionCloseOK{})
	c.ended()
}

// ended expects the end of the stream and returns what ServeConn returned.
func (c *client) ended() error {
	c.t.Helper()
	if f, err := c.next(); err == nil {
		got, _ := wire.Decode(f.Payload)
		c.t.Fatalf("unexpected frame type %d on channel %d: %+v", f.Type, f.Channel, got)
	}
	return <-c.served
}

// hangUp closes the connection as a client should.
func (c *client) hangUp() {
	c.t.Helper()
	c.send(0, &wire.ConnectionClose{ReplyCode: uint16(wire.ReplySuccess)})
	c.expect(0, &wire.ConnectionCloseOK{})
	if err := c.ended(); err != nil {
		c.t.Fatalf("an orderly end is reported as %v", err)
	}
}
