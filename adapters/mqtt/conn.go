package mqtt

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/session"
)

// goodbyeTime is what a peer gets to read our last words, and then to close.
const goodbyeTime = 2 * time.Second

// conn is one connection. Its reader goroutine is the one that serves it.
type conn struct {
	// immutable
	server  *Server
	net     net.Conn
	out     *session.Outbox
	inlet   session.Inlet
	ctx     context.Context
	cancel  context.CancelCauseFunc // why the connection ends from our side
	stopped sync.Once
	unwatch func() bool // ends the wait for the end of the gateway
	holder  holder

	// immutable once CONNECT has been accepted
	version byte
	connect *connectPacket
	session *clientSession
	will    *delayedWill // nil for none
	user    string
	member  *session.Member

	told told

	// reader goroutine
	packets   *packetReader
	decoder   *decoder // while there is something to decode
	ingress   ingress
	publisher *router.Publisher
	aliases   []string                    // topic by alias, less one
	held      session.Park[publishPacket] // PUBLISH packets that wait for the gate
	row       [1]queue.Row
	resumed   confirm.Receipt  // safe when all is that the session wrote on the connections before
	acked     []queue.Delivery // acknowledged and not settled yet
	unsettled []*feed          // that have such
	enhanced  enhanced
	in        inbound // what it has read
	opening   []*feed // wait for the answer to what opened them
	took      bool    // the session is this connection's to end or keep
	accepted  bool    // CONNACK said yes
	bye       bool    // DISCONNECT came: no will
	emit      func(seq uint64, a answer, err error)

	// guarded by the outbox
	order   confirm.Order[answer]
	answers uint64 // packets written, PUBLISH apart
	opened  uint64 // the round in which the last CONNACK or SUBACK was appended: what it opens begins with the next
	reply   []byte // the reply buffer while answers are released
	inbound int    // QoS 1 and 2 PUBLISH packets of the client in progress
	closed  bool   // our last packet is written: nothing may follow [MQTT-3.14.4-1]
	sub     *queue.Subscription
	starved bool // the writer waits for room in the client's window
	cursors []*cursor
	feeds   []*feed // changed by the reader only

	// guarded by the outbox: rows of QoS 2 identifiers on their way to the log (decision 20), in order
	tickets   uint64
	recording []uint16
	releasing []uint16

	// writer goroutine
	source      session.Source
	egress      egress
	taken       []queue.Delivery
	done        []queue.Delivery // need no acknowledgement
	plan        []planned
	rows        []queue.Row
	identifiers []uint32
	parked      []*feed // wait for room in the client's window
}

// answer is a packet that is owed to the client, in the order of what it answers [MQTT-4.6.0-2].
type answer struct {
	kind    packetType // PUBACK, PUBREC, PUBCOMP
	id      uint16
	reason  Reason
	counted bool // it ends an exchange that counts against the receive maximum
}

// ServeConn implements session.Handler. What it keeps on its stack is what an idle connection keeps, so whatever needs more
// is done in functions that have returned by then, and the handshake, which is deep, on a goroutine that has ended (ADR 0029).
func (s *Server) ServeConn(ctx context.Context, nc net.Conn) error {
	c := s.newConn(ctx, nc)
	err := c.begin()
	if err == nil {
		c.packets.large = &s.readBuffers
		err = c.read()
	}
	return c.finish(err)
}

func (s *Server) newConn(ctx context.Context, nc net.Conn) *conn {
	s.connections.Add(1)
	c := &conn{server: s, net: nc, out: session.NewOutbox(nc)}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	c.emit = c.settleAnswer
	c.holder = holder{evict: c.evict, released: make(chan struct{})}
	c.inlet.Init(nc, c.out, s.config.Gate, c.releaseHeld)
	c.packets = newPacketReader(&c.inlet, s.limits.PacketSize)
	c.source.Init(c.out, c)
	c.unwatch = context.AfterFunc(ctx, c.shutDown)
	return c
}

// begin has the handshake.
func (c *conn) begin() error {
	return aside(func() error {
		if !c.server.admission.enter(c.address(), c.server.limits.PerAddress) {
			return errAddress
		}
		return c.handshake()
	})
}

// aside does what is deep and rare on a goroutine of its own, in the reader's place: the stack it takes ends with it, and a
// reader that has grown one keeps it for as long as its connection is idle.
func aside(do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	return <-done
}

// logger tells of this connection. It is made when it is needed: one for each would be memory.
func (c *conn) logger() *slog.Logger {
	log := c.server.log.With("conn", c.net.RemoteAddr().String())
	if c.session != nil {
		log = log.With("vhost", c.session.key.vhost, "client", c.session.key.clientID)
	}
	return log
}

// errAddress ends a connection that is one too many. Nothing is read or said: whoever opens them by the thousand shall not
// cost more.
var errAddress = errors.New("mqtt: too many connections from one address")

// address is where the peer is; the zero one when that is not known.
func (c *conn) address() netip.Addr {
	remote, err := netip.ParseAddrPort(c.net.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return remote.Addr().Unmap()
}

// stop ends the connection from any goroutine; the first reason counts.
func (c *conn) stop(err error) {
	c.cancel(err)
	c.stopped.Do(func() { go c.unblock() })
}

// shutDown ends the connection because the gateway ends.
func (c *conn) shutDown() { c.stop(context.Canceled) }

// unblock wakes a reader that waits for the peer, by a deadline in the past, and soon one that waits for its writer, because
// the peer does not read.
func (c *conn) unblock() {
	c.inlet.Interrupt()
	c.out.Hurry(goodbyeTime)
}

func (c *conn) evict() { c.stop(&Error{Reason: ReasonSessionTakenOver, Text: "session taken over"}) }

// read is the life of an accepted connection.
func (c *conn) read() error {
	for {
		header, body, private, err := c.packets.next()
		if err == nil {
			err = c.handle(header, body, private)
		}
		if err != nil {
			c.tellIn()
			return err
		}
	}
}

// handle deals with one packet, and with what has to be done before the reader waits for the next.
func (c *conn) handle(header byte, body []byte, private bool) error {
	present, err := c.server.limits.verify(c.version, header, body)
	if err != nil {
		return err
	}
	c.in.packetsIn++
	if c.decoder == nil {
		c.decoder = c.server.decoder(c.version)
	}
	if err := c.dispatch(header, body, present, private); err != nil {
		return err
	}
	if !c.packets.ready() {
		c.tellIn()
		c.giveBack()
		c.ingress.release()
		if err := c.flushAcks(); err != nil {
			return err
		}
	}
	c.out.WaitRoom()
	return nil
}

// errDisconnect ends the read loop: the client said DISCONNECT.
var errDisconnect = errors.New("mqtt: disconnected")

func (c *conn) dispatch(header byte, body []byte, present propertySet, private bool) error {
	kind := packetType(header >> 4)
	if c.held.Len() > 0 && !overtakes(kind) {
		if err := c.passHeld(); err != nil {
			return err
		}
	}
	switch kind {
	case typePublish:
		p, err := c.decoder.decodePublish(header, body, present)
		if err != nil {
			return err
		}
		p.private = private
		c.in.publishesIn++
		c.in.publishBytesIn += uint64(len(p.payload))
		return c.publish(p)
	case typePuback, typePubrec, typePubrel, typePubcomp:
		a, err := c.decoder.decodeAck(header, body)
		if err != nil {
			return err
		}
		return c.acknowledge(kind, a)
	case typeSubscribe:
		p, err := c.decoder.decodeSubscribe(header, body)
		if err != nil {
			return err
		}
		return aside(func() error { return c.subscribe(p) })
	case typeUnsubscribe:
		id, filters, err := c.decoder.decodeUnsubscribe(header, body)
		if err != nil {
			return err
		}
		return aside(func() error { return c.unsubscribe(id, filters) })
	case typePingreq:
		b := c.out.Begin()
		c.answers++
		c.out.End(appendPingresp(b))
		return nil
	case typeDisconnect:
		p, err := c.decoder.decodeDisconnect(header, body)
		if err != nil {
			return err
		}
		return c.disconnect(p)
	case typeConnect: // [MQTT-3.1.0-2]
		return protocolError("second CONNECT")
	case typeAuth:
		a, err := c.decoder.decodeAuth(header, body)
		if err != nil {
			return err
		}
		return c.reauthenticate(a)
	}
	return malformed("packet type that a client does not send")
}

// disconnect handles DISCONNECT (3.14).
func (c *conn) disconnect(p disconnectPacket) error {
	if p.hasExpiry {
		if c.connect.expiry == 0 && p.expiry != 0 { // 5.0, 3.14.2.2.2
			return protocolError("session expiry raised from 0")
		}
		c.session.expiry = min(p.expiry, c.server.limits.sessionExpiry())
	}
	if c.version < version5 || p.reason == ReasonSuccess {
		c.bye = true // [MQTT-3.1.2-10]
	}
	return errDisconnect
}

// Confirmed implements confirm.Sink for what the client published: answers leave in order, when they are true.
func (c *conn) Confirmed(first, last uint64, err error) {
	c.reply = c.out.Begin()
	c.order.Complete(first, last, err, c.emit)
	b := c.reply
	c.reply = nil
	c.out.End(b)
	if err != nil { // nothing is answered: the client sends again to a gateway that can write
		c.stop(&Error{Reason: ReasonUnspecified, Text: "internal error", Cause: err})
	}
}

// settleAnswer appends one answer. The outbox is held.
func (c *conn) settleAnswer(_ uint64, a answer, err error) {
	if a.counted {
		c.inbound--
	}
	if err == nil && !c.closed {
		c.answers++
		c.reply = appendAck(c.reply, c.version, a.kind, a.id, a.reason)
	}
}

// promise has an answer sent when a receipt is safe, after those promised before.
func (c *conn) promise(a answer, r confirm.Receipt) {
	b := c.out.Begin()
	seq := c.order.Issue(a)
	c.out.End(b)
	r.Redeem(confirm.Ticket{To: c, Seq: seq})
}

// fits reports whether the client takes a packet of size bytes [MQTT-3.1.2-24]. Those of up to five bytes always do:
// a client that does not take CONNACK, which is longer, is not let in.
func (c *conn) fits(size int) bool {
	return c.connect.packetLimit == 0 || size <= c.connect.packetLimit
}

// fitsCodes is fits for a SUBACK or UNSUBACK with n codes. When it does not fit, neither could the client be told what
// became of its packet.
func (c *conn) fitsCodes(n int) error {
	if c.fits(fixedHeader + 3 + n) {
		return nil
	}
	return &Error{Reason: ReasonPacketTooLarge, Text: "answer over the maximum packet size"}
}

// send appends one packet that waits for nothing.
func (c *conn) send(t packetType, id uint16, reason Reason) {
	b := c.out.Begin()
	if !c.closed {
		c.answers++
		b = appendAck(b, c.version, t, id, reason)
	}
	c.out.End(b)
}

// finish says goodbye, lets go of the session and tells why the connection ended; nil is an orderly end.
func (c *conn) finish(err error) error {
	c.inlet.Heart().Stop()
	c.inlet.Unwatch()
	c.inlet.Interrupt() // its deadlines are in nobody's way from here on
	for range c.held.Drop() {
		c.server.losses.add(LossHeld)
	}
	if c.ctx.Err() != nil && !errors.Is(err, errDisconnect) { // the reader was woken: the reason is elsewhere
		err = context.Cause(c.ctx)
		if errors.Is(err, context.Canceled) {
			err = &Error{Reason: ReasonServerShuttingDown, Text: "server shutting down"}
		}
	}
	defer c.server.connections.Add(-1)
	defer c.cancel(nil)
	defer c.unwatch()
	defer c.server.admission.leave(c.address(), c.server.limits.PerAddress)
	c.member.Leave()
	if c.accepted {
		defer c.server.exit(c)
	}
	linger := c.goodbye(err)
	c.out.Finish(goodbyeTime)
	if c.session != nil {
		c.detach()
	}
	if linger {
		c.linger()
	}
	switch {
	case errors.Is(err, errDisconnect):
		return nil
	case errors.Is(err, io.EOF):
		return errors.New("mqtt: closed by the peer without DISCONNECT")
	}
	return err
}

// goodbye appends the last packet, when the version has one for the reason, and reports whether the peer should get
// time to read it.
func (c *conn) goodbye(err error) bool {
	b := c.out.Begin()
	defer func() { c.out.End(b) }()
	if c.closed {
		return false
	}
	c.closed = true
	known, ok := errors.AsType[*Error](err)
	switch {
	case !ok || c.version == 0:
		return false
	case !c.accepted:
		if !known.Reason.inConnack(c.version) { // [MQTT-3.1.4-1]
			return false
		}
		refusal := appendConnack(nil, c.version, &connackPacket{reason: known.Reason, reasonString: c.reasonString(known)})
		if c.connect != nil && !c.fits(len(refusal)) {
			return false
		}
		b = append(b, refusal...)
	case c.version == version5:
		b = appendDisconnect(b, known.Reason, c.reasonString(known))
	default:
		return false
	}
	return true
}

// reasonString is the text for the peer, if it wants one and takes it [MQTT-3.1.2-29].
func (c *conn) reasonString(e *Error) string {
	const overhead = 16
	if c.connect == nil || !c.connect.problemInfo || e.Reason == ReasonSuccess ||
		c.connect.packetLimit > 0 && len(e.Text)+overhead > c.connect.packetLimit {
		return ""
	}
	return e.Text
}

// linger reads what the peer still sends, so that closing does not destroy our last packet under way to it.
func (c *conn) linger() {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = c.net.SetReadDeadline(time.Now().Add(goodbyeTime))
		_, _ = io.Copy(io.Discard, io.LimitReader(c.net, int64(c.server.limits.PacketSize)))
	}
}
