package mqtt

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"tridge/core/auth"
	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
	"tridge/core/reply"
	"tridge/core/retained"
	"tridge/core/router"
	"tridge/core/session"
)

// patience is how long a test waits for what must come; soon, for what must not.
const (
	patience = 10 * time.Second
	soon     = 20 * time.Millisecond
)

// gateway is a server over a log in memory.
type gateway struct {
	t        *testing.T
	log      *queuetest.Log
	router   *router.Router
	retained *retained.Store
	replies  *reply.Book
	server   *Server
	gate     session.Gate
	ctx      context.Context
	stop     context.CancelFunc
	user     string
	nextID   uint32
	clients  []*client
}

// state is a State over a log.
type state struct{ log *queuetest.Log }

func (s state) Put(rows ...queue.Row) (confirm.Receipt, error) {
	_, receipt, err := s.log.AppendTx(&queue.Tx{Rows: rows}, nil)
	return receipt, err
}

func (s state) Range(t queue.Table) iter.Seq2[string, []byte] { return maps.All(s.log.Rows(t)) }

// newGateway starts a gateway over an empty log.
func newGateway(t *testing.T, limits Limits) *gateway {
	t.Helper()
	log := queuetest.NewLog()
	return startGateway(t, log, retained.New("/", log, nil), limits)
}

// startGateway starts a gateway over what log holds, as after a restart.
func startGateway(t *testing.T, log *queuetest.Log, kept *retained.Store, limits Limits) *gateway {
	t.Helper()
	g := &gateway{t: t, log: log, retained: kept, user: "guest"}
	var err error
	if g.replies, err = reply.NewBook(make([]byte, reply.SecretSize), "/"); err != nil {
		t.Fatal(err)
	}
	g.router = router.New(router.Config{
		Name: "/", Log: log, Retainer: g.retained, Replies: g.replies, Slog: slog.New(slog.DiscardHandler),
		NextID: func() (uint32, []queue.Row) { g.nextID++; return g.nextID, nil },
	})
	found := &replay{gateway: g}
	if err := errors.Join(log.Replay(found), found.build()); err != nil {
		t.Fatal(err)
	}
	g.server, err = NewServer(Config{
		Gate: &g.gate,
		Login: func(_ context.Context, c auth.Credentials, _ string) (*router.Router, auth.Identity, error) {
			if c.User == "mallory" {
				return nil, auth.Identity{}, auth.ErrRefused
			}
			return g.router, auth.Identity{User: g.user}, nil
		},
		Host: func(vhost string) (Host, bool) {
			return Host{Router: g.router, Retained: g.retained, Replies: g.replies}, vhost == "/"
		},
		State:  state{log},
		Limits: limits,
	})
	if err != nil {
		t.Fatal(err)
	}
	g.ctx, g.stop = context.WithCancel(context.Background())
	t.Cleanup(func() { g.stop(); g.server.Close() })
	return g
}

// replay rebuilds a gateway from its log.
type replay struct {
	*gateway
	rows   []queue.Row
	queues map[uint32]*queue.Local
}

func (r *replay) Row(row queue.Row, _ queue.Pos) error {
	if row.Table == queue.TableTopology {
		r.rows = append(r.rows, row)
	}
	return nil
}

func (r *replay) Message(at queue.Pos, i queue.Info, queues []uint32) error {
	if err := r.build(); err != nil {
		return err
	}
	for _, id := range queues {
		r.queues[id].Restore(queue.Found{At: at, Info: i})
	}
	return nil
}

func (r *replay) build() (err error) {
	if r.queues == nil {
		r.queues, err = r.router.Restore(r.rows)
		for id := range r.queues {
			r.nextID = max(r.nextID, id)
		}
	}
	return err
}

// crash forgets everything but the log and the retained messages, which are another package's, and starts again.
func (g *gateway) crash() *gateway {
	g.t.Helper()
	g.log.Fail(errors.New("crashed")) // what the dying connections still write is lost
	for _, c := range g.clients {
		_ = c.net.Close()
	}
	g.stop()
	g.waitFor("the connections to end", func() bool { return g.server.Stats().Connections == 0 })
	g.server.mu.Lock()
	g.server.clock.stopped = true
	g.server.mu.Unlock()
	g.log.Fail(nil)
	return startGateway(g.t, g.log, g.retained, g.server.limits)
}

func (g *gateway) waitFor(what string, done func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// client is a raw MQTT client.
type client struct {
	t       *testing.T
	net     net.Conn
	version byte
	ended   chan error // what ServeConn returned
}

// dial connects without saying anything.
func (g *gateway) dial() *client {
	g.t.Helper()
	ours, theirs := net.Pipe()
	c := &client{t: g.t, net: ours, ended: make(chan error, 1)}
	g.clients = append(g.clients, c)
	go func() {
		err := g.server.ServeConn(g.ctx, theirs)
		_ = theirs.Close()
		c.ended <- err
	}()
	g.t.Cleanup(func() { _ = ours.Close() })
	return c
}

// defaults are the limits of a server that was given none.
func defaults() *Limits {
	l := Limits{}.withDefaults()
	return &l
}

// hello is what a test says in CONNECT.
type hello struct {
	version    byte
	id         string
	keep       bool // not a clean start
	keepAlive  uint16
	properties []byte
	will       *testWill
	user       string
	password   string
}

type testWill struct {
	topic, payload string
	qos            byte
	retain         bool
	properties     []byte
}

func (h *hello) packet() []byte {
	if h.version == 0 {
		h.version = version311
	}
	var flags byte
	if !h.keep {
		flags |= 0x02
	}
	if w := h.will; w != nil {
		flags |= 0x04 | w.qos<<3 | bit(w.retain)<<5
	}
	if h.user != "" {
		flags |= 0x80
	}
	if h.password != "" {
		flags |= 0x40
	}
	name := "MQTT"
	if h.version == version31 {
		name = "MQIsdp"
	}
	b := append(appendText(nil, name), h.version, flags, byte(h.keepAlive>>8), byte(h.keepAlive))
	if h.version == version5 {
		b = append(appendVarint(b, len(h.properties)), h.properties...)
	}
	b = appendText(b, h.id)
	if w := h.will; w != nil {
		if h.version == version5 {
			b = append(appendVarint(b, len(w.properties)), w.properties...)
		}
		b = appendText(appendText(b, w.topic), w.payload)
	}
	if h.user != "" {
		b = appendText(b, h.user)
	}
	if h.password != "" {
		b = appendText(b, h.password)
	}
	return packet(0x10, b)
}

func packet(first byte, body []byte) []byte {
	return append(appendVarint([]byte{first}, len(body)), body...)
}

// connect connects and returns the client and the body of CONNACK, which must be a success.
func (g *gateway) connect(h hello) (*client, []byte) {
	g.t.Helper()
	c := g.dial()
	c.version = h.version
	c.send(h.packet())
	c.version = h.version
	body := c.expect(0x20)
	if body[1] != 0 {
		g.t.Fatalf("CONNACK with code 0x%02X", body[1])
	}
	return c, body
}

func (c *client) send(b []byte) {
	c.t.Helper()
	_ = c.net.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.net.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// read returns the next packet.
func (c *client) read(wait time.Duration) (first byte, body []byte, err error) {
	_ = c.net.SetReadDeadline(time.Now().Add(wait))
	var head [1]byte
	if _, err := io.ReadFull(c.net, head[:]); err != nil {
		return 0, nil, err
	}
	first = head[0]
	size := 0
	for shift := 0; ; shift += 7 {
		if _, err := io.ReadFull(c.net, head[:]); err != nil {
			return 0, nil, err
		}
		size |= int(head[0]&0x7f) << shift
		if head[0]&0x80 == 0 {
			break
		}
	}
	body = make([]byte, size)
	_ = c.net.SetReadDeadline(time.Now().Add(patience))
	_, err = io.ReadFull(c.net, body)
	return first, body, err
}

// expect reads a packet that begins with first.
func (c *client) expect(first byte) []byte {
	c.t.Helper()
	got, body, err := c.read(patience)
	if err != nil {
		c.t.Fatalf("waiting for a packet 0x%02X: %v", first, err)
	}
	if got != first {
		c.t.Fatalf("packet 0x%02X % X, want 0x%02X", got, body, first)
	}
	return body
}

// expectNothing fails when a packet comes soon.
func (c *client) expectNothing() {
	c.t.Helper()
	first, body, err := c.read(soon)
	if err == nil {
		c.t.Fatalf("unexpected packet 0x%02X % X", first, body)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("connection ended: %v", err)
	}
}

// expectClosed reads until the server closes, without another packet.
func (c *client) expectClosed() {
	c.t.Helper()
	if first, body, err := c.read(patience); err == nil {
		c.t.Fatalf("unexpected packet 0x%02X % X", first, body)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the server did not close")
	}
}

// disconnect says DISCONNECT and waits until the server has let go of the session.
func (c *client) disconnect() error {
	c.t.Helper()
	c.send([]byte{0xE0, 0})
	return c.wait()
}

// cut closes the connection without DISCONNECT and waits until the server has let go of the session.
func (c *client) cut() error {
	c.t.Helper()
	_ = c.net.Close()
	return c.wait()
}

func (c *client) wait() error {
	c.t.Helper()
	select {
	case err := <-c.ended:
		return err
	case <-time.After(patience):
		c.t.Fatal("ServeConn did not return")
		return nil
	}
}

// subscribe subscribes to filters with these options and returns the codes.
func (c *client) subscribe(id uint16, options byte, filters ...string) []byte {
	c.t.Helper()
	c.send(c.subscription(id, nil, options, filters...))
	body := c.expect(0x90)
	if binary.BigEndian.Uint16(body) != id {
		c.t.Fatalf("SUBACK for %d, want %d", binary.BigEndian.Uint16(body), id)
	}
	if c.version == version5 {
		return body[3:]
	}
	return body[2:]
}

func (c *client) subscription(id uint16, properties []byte, options byte, filters ...string) []byte {
	b := []byte{byte(id >> 8), byte(id)}
	if c.version == version5 {
		b = append(appendVarint(b, len(properties)), properties...)
	}
	for _, filter := range filters {
		b = append(appendText(b, filter), options)
	}
	return packet(0x82, b)
}

// pub is a PUBLISH in a test.
type pub struct {
	topic      string
	payload    string
	id         uint16
	qos        byte
	dup        bool
	retain     bool
	properties string // encoded
}

func (c *client) publication(p pub) []byte {
	b := appendText(nil, p.topic)
	if p.qos > 0 {
		b = append(b, byte(p.id>>8), byte(p.id))
	}
	if c.version == version5 {
		b = append(appendVarint(b, len(p.properties)), p.properties...)
	}
	return packet(0x30|bit(p.dup)<<3|p.qos<<1|bit(p.retain), append(b, p.payload...))
}

func (c *client) publish(p pub) {
	c.t.Helper()
	c.send(c.publication(p))
}

// message reads a PUBLISH.
func (c *client) message() pub {
	c.t.Helper()
	return c.messageWithin(patience)
}

func (c *client) messageWithin(d time.Duration) pub {
	c.t.Helper()
	first, body, err := c.read(d)
	if err != nil {
		c.t.Fatalf("waiting for PUBLISH: %v", err)
	}
	return c.decode(first, body)
}

// decode reads a packet that must be a PUBLISH.
func (c *client) decode(first byte, body []byte) pub {
	c.t.Helper()
	if first>>4 != byte(typePublish) {
		c.t.Fatalf("packet 0x%02X % X, want PUBLISH", first, body)
	}
	p := pub{qos: first >> 1 & 3, dup: first&8 != 0, retain: first&1 != 0}
	s := shape{rest: body}
	p.topic = string(s.text())
	if p.qos > 0 {
		p.id = s.uint16()
	}
	if c.version == version5 {
		p.properties = string(s.take(int(s.varint())))
	}
	p.payload = string(s.rest)
	if s.err != nil {
		c.t.Fatal(s.err)
	}
	return p
}

// expectMessage reads a PUBLISH and compares it, the packet identifier apart, which it returns.
func (c *client) expectMessage(want pub) uint16 {
	c.t.Helper()
	got := c.message()
	want.id = got.id
	if got != want {
		c.t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	return got.id
}

// ack sends a PUBACK, PUBREC, PUBREL or PUBCOMP.
func (c *client) ack(t packetType, id uint16) {
	c.t.Helper()
	c.send(appendAck(nil, version311, t, id, ReasonSuccess))
}

// expectAck reads an acknowledgement and returns its reason.
func (c *client) expectAck(t packetType, id uint16) Reason {
	c.t.Helper()
	first := byte(t) << 4
	if t == typePubrel {
		first |= 2
	}
	body := c.expect(first)
	if got := binary.BigEndian.Uint16(body); got != id {
		c.t.Fatalf("acknowledgement of %d, want %d", got, id)
	}
	if len(body) > 2 {
		return Reason(body[2])
	}
	return ReasonSuccess
}

// expectGoodbye reads the DISCONNECT of a 5.0 server, then the end.
func (c *client) expectGoodbye(want Reason) {
	c.t.Helper()
	body := c.expect(0xE0)
	if Reason(body[0]) != want {
		c.t.Fatalf("DISCONNECT with 0x%02X, want 0x%02X", body[0], byte(want))
	}
	c.expectClosed()
}

// props encodes properties.
func props(parts ...string) string { return strings.Join(parts, "") }

func userProp(name, value string) string { return string(appendUserProperty(nil, name, value)) }

func textProp(identifier byte, s string) string { return string(appendText([]byte{identifier}, s)) }

func uint32Prop(identifier byte, n uint32) string {
	return string(binary.BigEndian.AppendUint32([]byte{identifier}, n))
}

func uint16Prop(identifier byte, n uint16) string {
	return string(binary.BigEndian.AppendUint16([]byte{identifier}, n))
}
