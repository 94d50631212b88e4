package amqp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/auth"
	"tridge/core/message"
	"tridge/core/session"
)

// protocolHeader is what a client begins with and what a server answers to anything else (0-9-1 §4.2.2).
var protocolHeader = [...]byte{'A', 'M', 'Q', 'P', 0, 0, 9, 1}

// greetingFrameMax bounds frames until frame-max has been negotiated.
const greetingFrameMax = 8192

// errWrongProtocol says that the peer speaks something else; it has been told what we speak.
var errWrongProtocol = errors.New("amqp: the peer did not begin with the header of AMQP 0-9-1")

// errTooSlow says that the handshake took longer than it may.
var errTooSlow = errors.New("amqp: handshake not finished in time")

// handshake brings the connection to connection.open-ok (0-9-1 §2.2.4).
func (c *conn) handshake(ctx context.Context) error {
	_ = c.inlet.Handshake(c.server.limits.Handshake) // the read says what is wrong
	if ctx.Err() != nil {                            // it may have ended before the deadline above, which then undid the interruption
		return c.readError(ctx, ctx.Err())
	}
	begin, err := c.frames.Peek(len(protocolHeader))
	if err != nil && !differs(begin) {
		return c.readError(ctx, err)
	}
	if differs(begin) {
		b := c.out.Begin()
		c.out.End(append(b, protocolHeader[:]...))
		return errWrongProtocol
	}
	c.frames.Discard(len(protocolHeader))

	b := c.out.Begin()
	c.out.End(c.server.greeting(c.mechanisms()).AppendFrame(b, 0))
	credentials, err := c.authenticate(ctx)
	if err != nil {
		return err
	}
	if err := c.tune(ctx); err != nil {
		return err
	}
	if err := c.open(ctx, credentials); err != nil {
		return err
	}
	_ = c.inlet.Within(0)
	if ctx.Err() != nil { // the interruption may have come before its deadline was taken back
		return c.readError(ctx, ctx.Err())
	}
	return nil
}

// differs reports whether what has arrived cannot become our protocol header: a client that begins with something
// shorter is answered before it has sent eight bytes.
func differs(begin []byte) bool {
	return len(begin) > 0 && !bytes.HasPrefix(protocolHeader[:], begin)
}

// What clients decide by. kombu, and Celery with it, takes a broker that is not this product, of version 3.3 or later, for one
// whose basic.qos is the specification's, and does not set the prefetch of a running consumer; amqplib's tests ask for the
// product. It is the behaviour that is announced, and RabbitMQ's is the one kept; who we are is in "information".
const (
	compatibleProduct = "RabbitMQ"
	compatibleVersion = "3.13.7" // the last with transient queues that are shared, and prefetch of a whole channel
)

// greeting is connection.start. It announces what this build does and nothing else.
func (s *Server) greeting(mechanisms string) *wire.ConnectionStart {
	yes := message.BoolValue(true)
	var capabilities message.Headers
	for _, name := range []string{
		"publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked", "consumer_priorities",
		"authentication_failure_close", "per_consumer_qos", "direct_reply_to",
	} {
		capabilities = message.AppendField(capabilities, name, yes)
	}
	var properties message.Headers
	properties = message.AppendTableField(properties, "capabilities", capabilities)
	if s.config.Cluster != "" {
		properties = message.AppendStringField(properties, "cluster_name", s.config.Cluster)
	}
	properties = message.AppendStringField(properties, "information", "Tridge "+s.config.Version)
	properties = message.AppendStringField(properties, "platform", s.platform)
	properties = message.AppendStringField(properties, "product", compatibleProduct)
	properties = message.AppendStringField(properties, "version", compatibleVersion)
	return &wire.ConnectionStart{VersionMajor: 0, VersionMinor: 9, ServerProperties: properties, Mechanisms: mechanisms, Locales: "en_US"}
}

// authenticate reads connection.start-ok and lets the peer in or not.
func (c *conn) authenticate(ctx context.Context) (auth.Credentials, error) {
	var m wire.ConnectionStartOK
	if err := c.expect(ctx, &m); err != nil {
		return auth.Credentials{}, err
	}
	if v, ok := m.ClientProperties.Get("capabilities"); ok {
		capabilities, _ := v.Table()
		c.failureClose = announces(capabilities, "authentication_failure_close")
		c.cancelNotify = announces(capabilities, "consumer_cancel_notify")
		c.blockNotify = announces(capabilities, "connection.blocked")
	}
	credentials, problem := c.credentials(m.Mechanism, m.Response)
	if problem != nil {
		return auth.Credentials{}, problem.at(wire.IDConnectionStartOK)
	}
	c.introduced(&m)
	if _, _, err := c.server.config.Login(ctx, credentials, ""); errors.Is(err, auth.ErrRefused) {
		return auth.Credentials{}, c.refuse(ctx, err)
	}
	return credentials, nil
}

// introduced keeps what the peer says of itself.
func (c *conn) introduced(m *wire.ConnectionStartOK) {
	c.info.Protocol, c.info.Mechanism = "AMQP 0-9-1", strings.Clone(m.Mechanism)
	c.info.Properties = bytes.Clone(m.ClientProperties)
	if v, ok := c.info.Properties.Get("connection_name"); ok {
		c.info.Name, _ = v.String()
	}
}

func announces(capabilities message.Headers, name string) bool {
	v, _ := capabilities.Get(name)
	yes, _ := v.Bool()
	return yes
}

func remoteAddress(socket net.Conn) netip.Addr {
	address := socket.RemoteAddr()
	if address == nil {
		return netip.Addr{}
	}
	parsed, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return netip.Addr{}
	}
	return parsed.Addr()
}

// refuse turns down credentials: by connection.close for clients that understand it, by a pause and the end of the
// connection for others (https://www.rabbitmq.com/auth-notification).
func (c *conn) refuse(ctx context.Context, err error) error {
	if c.failureClose {
		refused := failure(wire.AccessRefused, "Login was refused using authentication mechanism %s. For details see the broker logfile.", c.info.Mechanism)
		refused.Scope, refused.Err = ConnectionScope, err
		return refused
	}
	select {
	case <-time.After(c.server.limits.Refusal):
	case <-ctx.Done():
	}
	return err
}

// tune negotiates the limits and starts the heart.
func (c *conn) tune(ctx context.Context) error {
	limits := &c.server.limits
	proposal := wire.ConnectionTune{
		ChannelMax: uint16(limits.ChannelMax), FrameMax: uint32(limits.FrameMax), Heartbeat: uint16(min(limits.Heartbeat/time.Second, 65535)),
	}
	b := c.out.Begin()
	c.out.End(proposal.AppendFrame(b, 0))
	var m wire.ConnectionTuneOK
	if err := c.expect(ctx, &m); err != nil {
		return err
	}
	switch {
	case int64(m.FrameMax) > int64(limits.FrameMax):
		return notAgreed("frame_max", int(m.FrameMax), "higher", "maximum", limits.FrameMax)
	case m.FrameMax != 0 && m.FrameMax < wire.FrameMinSize:
		return notAgreed("frame_max", int(m.FrameMax), "lower", "minimum", wire.FrameMinSize)
	case int(m.ChannelMax) > limits.ChannelMax:
		return notAgreed("channel_max", int(m.ChannelMax), "higher", "maximum", limits.ChannelMax)
	}
	c.frameMax, c.channelMax = int(m.FrameMax), int(m.ChannelMax)
	if c.frameMax == 0 { // no limit of the peer's: ours holds
		c.frameMax = limits.FrameMax
	}
	if c.channelMax == 0 {
		c.channelMax = limits.ChannelMax
	}
	c.frames.SetFrameMax(c.frameMax)
	interval := time.Duration(m.Heartbeat) * time.Second
	c.info.FrameMax, c.info.ChannelMax, c.info.Heartbeat = c.frameMax, c.channelMax, interval
	// We beat twice per interval: some clients wait hardly longer than one.
	c.inlet.Beat(session.NewHeart(c.out, interval/2, 2*interval, c.beat, c.silent))
	return nil
}

func notAgreed(what string, got int, than, bound string, limit int) *Error {
	return failure(wire.NotAllowed, "negotiated %s = %d is %s than the %s allowed value (%d)", what, got, than, bound, limit).at(wire.IDConnectionTuneOK)
}

// open enters the virtual host.
func (c *conn) open(ctx context.Context, credentials auth.Credentials) error {
	var m wire.ConnectionOpen
	if err := c.expect(ctx, &m); err != nil {
		return err
	}
	c.vhost = strings.Clone(m.VirtualHost)
	r, identity, err := c.server.config.Login(ctx, credentials, c.vhost)
	if err != nil || c.vhost == "" { // to Login that name means something else
		refused := failure(wire.NotAllowed, "vhost %s not found", c.vhost).at(wire.IDConnectionOpen)
		if errors.Is(err, auth.ErrRefused) {
			refused.Text = "access to vhost '" + c.vhost + "' refused for user '" + credentials.User + "'"
		}
		refused.Err = err
		return refused
	}
	c.router, c.origin, c.ingress.user = r, r.NewOrigin(), identity.User
	if c.server.config.Replies != nil {
		c.ingress.replies = c.server.config.Replies(c.vhost)
		c.delivered.replies, c.replied.replies = c.ingress.replies, c.ingress.replies
	}
	c.info.User, c.info.VHost = identity.User, c.vhost
	c.member = c.server.config.Sessions.Enter(c.socket, c.info, func(reason string) { c.cancel(errExpelled{reason}) })
	b := c.out.Begin()
	c.out.End((&wire.ConnectionOpenOK{}).AppendFrame(b, 0))
	return nil
}

// expect reads the next method of the handshake, which must be m. Its strings are valid until the next frame is read.
func (c *conn) expect(ctx context.Context, m wire.Method) error {
	for {
		f, err := c.frames.Next()
		if err != nil {
			return c.readError(ctx, err)
		}
		if f.Type == wire.FrameHeartbeat && f.Channel == 0 {
			continue
		}
		if f.Type != wire.FrameMethod || f.Channel != 0 {
			return failure(wire.UnexpectedFrame, "type %d on channel %d instead of %s", f.Type, f.Channel, m.ID())
		}
		id, arguments, err := wire.SplitMethod(f.Payload)
		switch {
		case err != nil:
			return failure(wire.FrameError, "method frame of %d octets", len(f.Payload))
		case id == wire.IDConnectionClose:
			return c.closedByPeer(arguments)
		case id != m.ID():
			return failure(wire.CommandInvalid, "%s instead of %s", id, m.ID()).at(id)
		}
		if err := m.Decode(arguments); err != nil {
			return malformed().at(id)
		}
		return nil
	}
}

// updateSecret takes a new secret for one that expires (https://www.rabbitmq.com/docs/access-control, connection.update-secret).
// A password does not, so here as with RabbitMQ's own users there is nothing to renew: whoever has been let in stays
// who it is, and what it says is not compared.
func (c *conn) updateSecret(arguments []byte) error {
	var m wire.ConnectionUpdateSecret
	if m.Decode(arguments) != nil {
		return malformed().at(wire.IDConnectionUpdateSecret)
	}
	b := c.out.Begin()
	c.out.End((&wire.ConnectionUpdateSecretOK{}).AppendFrame(b, 0))
	return nil
}
