package amqp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"tridge/adapters/amqp/wire"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/session"
)

// conn is one connection.
type conn struct {
	// immutable
	server *Server
	socket net.Conn
	out    *session.Outbox
	inlet  session.Inlet
	ending context.Context         // done when the connection is to end
	cancel context.CancelCauseFunc // has it end, from our side; from any goroutine

	// set by the handshake, immutable afterwards
	vhost        string
	router       *router.Router
	origin       uint64
	frameMax     int
	channelMax   int
	failureClose bool         // the client understands connection.close 403
	cancelNotify bool         // the client understands basic.cancel from us
	blockNotify  bool         // the client understands connection.blocked
	info         session.Info // what member shows
	member       *session.Member

	dead atomic.Bool // the heart has given up on the peer

	// reader goroutine
	frames   *wire.Reader
	channels map[uint16]*channel
	latest   *channel // of the frame before, nil when it is gone: the frames of a message are on one channel
	arrival  arrival
	ingress  ingress
	replied  egress           // for basic.return and basic.get-ok
	settled  []slot           // scratch
	tokens   []queue.Delivery // scratch
	starved  []*consumer      // scratch

	// reader goroutine: what waits for the gate
	publishing bool // it has published, or tried to
	held       session.Park[heldPublish]
	assembling int // bytes of bodies announced while the gate is shut, of publishes not complete yet

	// writer goroutine
	delivered egress
	taken     []queue.Delivery // scratch

	// guarded by the outbox
	blocked  bool // the peer was told connection.blocked, and not unblocked since
	timeouts timeouts
	leaving  bool // our last frame is being written: no word about the gate any more
}

func newConn(s *Server, socket net.Conn) *conn {
	c := &conn{
		server: s, socket: socket, out: session.NewOutbox(socket),
		channels: map[uint16]*channel{}, ingress: ingress{losses: &s.losses},
		replied: egress{losses: &s.losses}, delivered: egress{losses: &s.losses},
	}
	c.inlet.Init(socket, c.out, s.config.Gate, c.releaseHeld)
	c.frames = wire.NewReader(&c.inlet, greetingFrameMax)
	return c
}

func (c *conn) beat() {
	b := c.out.Begin()
	c.out.End(wire.AppendHeartbeat(b))
}

// silent ends a connection whose peer has not been heard of for two heartbeats (0-9-1 §4.2.7).
func (c *conn) silent() {
	c.dead.Store(true)
	_ = c.socket.Close()
}

// errSilent says that heartbeats were missed.
var errSilent = errors.New("amqp: nothing from the peer for two heartbeats")

// errClosedByPeer says that the peer has sent connection.close and is owed close-ok.
var errClosedByPeer = errors.New("amqp: closed by the peer")

// run reads and acts on frames until the connection ends.
func (c *conn) run(ctx context.Context) error {
	for {
		f, err := c.frames.Next()
		if err != nil {
			return c.readError(ctx, err)
		}
		if err := c.handle(ctx, f); err != nil {
			if err := c.handleError(ctx, f.Channel, err); err != nil {
				return err
			}
		}
		if c.out.WaitRoom() {
			c.waited()
		}
	}
}

// handleError closes the channel of an error that is a channel's and returns any other, for the connection ends.
func (c *conn) handleError(ctx context.Context, channel uint16, err error) error {
	var e *Error
	switch {
	case errors.Is(err, session.ErrInterrupted):
		return c.readError(ctx, err)
	case !errors.As(err, &e) || e.Scope == ConnectionScope:
		return err
	}
	// What the channel published before the mistake comes before its end.
	ch := c.channels[channel]
	if err := c.passHeld(ch); err != nil {
		return c.readError(ctx, err)
	}
	if ch != nil && ch.released { // one of those has closed it already
		return nil
	}
	return c.fail(channel, e)
}

// readError says what a failed read means.
func (c *conn) readError(ctx context.Context, err error) error {
	var size *wire.FrameSizeError
	var known *Error
	switch {
	case ctx.Err() != nil && (errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, session.ErrInterrupted) || errors.Is(err, ctx.Err())):
		return forced(context.Cause(ctx))
	case errors.As(err, &known): // of a publish that was held
		return err
	case c.dead.Load():
		return errSilent
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errTooSlow
	case errors.As(err, &size):
		return failure(wire.FrameError, "frame of %d octets is larger than the negotiated maximum of %d", size.Size, size.Max)
	case errors.Is(err, wire.ErrFrameEnd):
		return failure(wire.FrameError, "frame does not end with the frame-end octet")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("amqp: the peer closed the socket without connection.close: %w", err)
	}
	return fmt.Errorf("amqp: read: %w", err)
}

// errExpelled is why a connection ends that an operator has closed; its text is for the peer.
type errExpelled struct{ reason string }

func (e errExpelled) Error() string { return e.reason }

// forced says in the protocol's words why we end the connection.
func forced(cause error) *Error {
	var expelled errExpelled
	if errors.As(cause, &expelled) {
		return failure(wire.ConnectionForced, "%s", expelled.reason)
	}
	return failure(wire.ConnectionForced, "broker forced connection closure with reason 'shutdown'")
}

// handle acts on one frame.
func (c *conn) handle(ctx context.Context, f wire.Frame) error {
	if f.Type != wire.FrameMethod && f.Type != wire.FrameHeader && f.Type != wire.FrameBody && f.Type != wire.FrameHeartbeat {
		return failure(wire.FrameError, "unknown frame type %d on channel %d", f.Type, f.Channel)
	}
	if f.Channel == 0 {
		return c.handleConnection(ctx, f)
	}
	ch := c.latest
	if ch == nil || ch.number != f.Channel {
		ch = c.channels[f.Channel]
		c.latest = ch
	}
	if f.Type == wire.FrameHeartbeat {
		return failure(wire.UnexpectedFrame, "heartbeat on channel %d", f.Channel)
	}
	if ch != nil {
		return ch.handle(ctx, f)
	}
	if f.Type != wire.FrameMethod {
		return (&incoming{}).unexpected()
	}
	id, _, err := wire.SplitMethod(f.Payload)
	switch {
	case err != nil:
		return failure(wire.FrameError, "method frame of %d octets", len(f.Payload))
	case id == wire.IDChannelCloseOK: // answers a close of ours that the peer's own close has overtaken
		return nil
	case id != wire.IDChannelOpen:
		return failure(wire.ChannelError, "expected 'channel.open'").at(id)
	case len(c.channels) >= c.channelMax: // as RabbitMQ has it, a limit of how many and not of the number: clients rely on that
		return failure(wire.NotAllowed, "number of channels opened (%d) has reached the negotiated channel_max (%d)", len(c.channels), c.channelMax)
	}
	c.channels[f.Channel] = newChannel(c, f.Channel)
	c.member.SetChannels(len(c.channels))
	b := c.out.Begin()
	c.out.End((&wire.ChannelOpenOK{}).AppendFrame(b, f.Channel))
	return nil
}

// forget makes the number of a channel free again.
func (c *conn) forget(number uint16) {
	delete(c.channels, number)
	c.latest = nil
	c.member.SetChannels(len(c.channels))
}

// handleConnection acts on a frame of channel 0, where only the class connection lives.
func (c *conn) handleConnection(ctx context.Context, f wire.Frame) error {
	switch f.Type {
	case wire.FrameHeartbeat:
		if len(f.Payload) > 0 {
			return failure(wire.FrameError, "heartbeat of %d octets", len(f.Payload))
		}
		c.frames.Shrink() // clients beat when they have nothing to say
		return nil
	case wire.FrameMethod:
	default:
		return failure(wire.UnexpectedFrame, "frame type %d on channel 0", f.Type)
	}
	id, arguments, err := wire.SplitMethod(f.Payload)
	switch {
	case err != nil:
		return failure(wire.FrameError, "method frame of %d octets", len(f.Payload))
	case id == wire.IDConnectionClose:
		if err := c.passHeld(nil); err != nil {
			return err
		}
		return c.closedByPeer(arguments)
	case id == wire.IDConnectionUpdateSecret:
		return c.updateSecret(arguments)
	case id.String() != "unknown":
		return failure(wire.ChannelError, "unexpected method in connection state running").at(id)
	}
	return failure(wire.CommandInvalid, "unimplemented method").at(id)
}

func (c *conn) closedByPeer(arguments []byte) error {
	var m wire.ConnectionClose
	if err := m.Decode(arguments); err != nil {
		return malformed().at(wire.IDConnectionClose)
	}
	if m.ReplyCode != uint16(wire.ReplySuccess) && m.ReplyCode != 0 {
		c.server.config.Log.Info("peer closes with an error", "conn", c.socket.RemoteAddr(), "code", m.ReplyCode, "text", strings.Clone(m.ReplyText))
	}
	return errClosedByPeer
}

// fail closes a channel for an error of its own.
func (c *conn) fail(number uint16, e *Error) error {
	ch := c.channels[number]
	if ch.closing { // one of its publishes that was held has done so
		return nil
	}
	if err := ch.answered(); err != nil {
		return err
	}
	c.server.config.Log.Info("channel closed", "conn", c.socket.RemoteAddr(), "vhost", c.vhost, "channel", number, "err", e)
	if err := ch.release(); err != nil {
		return err
	}
	ch.closing = true
	b := c.out.Begin()
	c.out.End((&wire.ChannelClose{ReplyCode: uint16(e.Code), ReplyText: e.reply(), ClassID: e.Class, MethodID: e.Method}).AppendFrame(b, number))
	return nil
}

// end lets go of everything the connection holds, says goodbye in the protocol's words and waits, briefly, for the
// peer's answer. It returns what the log should say of the end: nil for an orderly one.
func (c *conn) end(ctx context.Context, err error) error {
	c.member.Leave()
	c.inlet.Heart().Stop()
	c.leave()
	c.out.Finish(c.server.limits.Goodbye)
	// No Fill runs any more: what is unsettled now stays so until it is settled here.
	for _, ch := range c.channels {
		if problem := ch.release(); problem != nil {
			err = errors.Join(err, problem)
		}
	}
	c.channels, c.latest = nil, nil // stopped timers may keep the connection itself for a while
	if c.router != nil {
		c.router.CloseOwner(c.origin)
	}
	var e *Error
	orderly := errors.Is(err, errClosedByPeer)
	switch {
	case orderly:
		b := c.out.Begin()
		c.out.End((&wire.ConnectionCloseOK{}).AppendFrame(b, 0))
	case errors.As(err, &e):
		b := c.out.Begin()
		c.out.End((&wire.ConnectionClose{ReplyCode: uint16(e.Code), ReplyText: e.reply(), ClassID: e.Class, MethodID: e.Method}).AppendFrame(b, 0))
		c.awaitCloseOK(e)
	}
	c.out.Finish(c.server.limits.Goodbye)
	if errors.Is(err, errWrongProtocol) {
		c.linger()
	}
	_ = c.socket.Close()
	if orderly || e != nil && e.Code == wire.ConnectionForced && ctx.Err() != nil {
		return nil
	}
	return err
}

// awaitCloseOK reads on until the peer has answered connection.close, so that closing the socket does not destroy
// what it has not read yet.
func (c *conn) awaitCloseOK(e *Error) {
	_ = c.socket.SetReadDeadline(time.Now().Add(c.server.limits.Goodbye))
	if e.Code == wire.FrameError { // the stream may be out of step: there is no frame to be found in it
		_, _ = io.Copy(io.Discard, c.socket)
		return
	}
	for {
		f, err := c.frames.Next()
		if err != nil {
			return
		}
		if f.Type != wire.FrameMethod || f.Channel != 0 {
			continue
		}
		switch id, _, _ := wire.SplitMethod(f.Payload); id {
		case wire.IDConnectionCloseOK:
			return
		case wire.IDConnectionClose: // both sides closed at once
			b := c.out.Begin()
			c.out.End((&wire.ConnectionCloseOK{}).AppendFrame(b, 0))
			return
		}
	}
}

// linger tells the peer that nothing more comes and reads what it still sends: closing a TCP socket with unread bytes
// would destroy our answer.
func (c *conn) linger() {
	half, ok := c.socket.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.socket.SetReadDeadline(time.Now().Add(c.server.limits.Goodbye))
	_, _ = io.Copy(io.Discard, c.socket)
}
