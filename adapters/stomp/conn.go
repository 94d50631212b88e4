package stomp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"tridge/adapters/stomp/wire"
	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/session"
)

// farewell is how long a connection that ends waits for its peer to read the last frame and to close.
const farewell = 2 * time.Second

var (
	// errDisconnected ends a connection whose client said DISCONNECT.
	errDisconnected = errors.New("stomp: disconnected")
	// errInterrupted stands for a reason that was left with the connection: see conn.reason.
	errInterrupted = errors.New("stomp: interrupted")
)

// conn is one connection: the reader goroutine that runs serve, the outbox whose writer runs the subscriptions' Fill,
// and the log whose goroutine runs Confirmed.
type conn struct {
	// immutable
	server *Server
	net    net.Conn
	out    *session.Outbox
	inlet  session.Inlet

	// set by the handshake, immutable afterwards
	version   wire.Version
	session   string
	router    *router.Router
	origin    uint64
	publisher *router.Publisher
	replies   Replies // may be nil
	member    *session.Member

	// reader goroutine
	reader        *wire.Reader
	ingress       ingress
	destinations  map[string]destination // parsed before
	subscriptions map[subscriptionKey]*subscription
	numbered      map[uint64]*subscription
	lastNumber    uint64
	temporary     map[string]*temporary // by destination
	transactions  map[string]*transaction
	kept          int              // bytes that they hold, roughly
	settling      []queue.Delivery // scratch
	safe          confirm.Receipt  // safe when everything before is
	held          session.Park[heldFrame]

	// writer goroutine
	egress egress
	batch  []queue.Delivery // scratch
	take   int              // how much to ask for at once

	// guarded by the outbox
	order   confirm.Order[string] // receipt ids
	replied []byte                // the reply buffer while order.Complete runs
	failure error                 // why the connection must end, when its reader does not know yet
	closing bool                  // the last frame has been appended: nothing may follow it
	goodbye uint64                // sequence number of the receipt of DISCONNECT
	settled chan struct{}         // closed when goodbye is out

	receipted func(seq uint64, id string, err error) // method value, made once
}

var _ confirm.Sink = (*conn)(nil)

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		server: s, net: nc, out: session.NewOutbox(nc), take: firstBatch,
		destinations:  map[string]destination{},
		subscriptions: map[subscriptionKey]*subscription{},
		numbered:      map[uint64]*subscription{},
		temporary:     map[string]*temporary{},
		transactions:  map[string]*transaction{},
		settled:       make(chan struct{}),
	}
	c.inlet.Init(nc, c.out, s.gate, c.releaseHeld)
	c.reader = wire.NewReader(&c.inlet, s.limits.Frame)
	c.receipted = c.receipt
	return c
}

// serve reads frames until the connection ends, and says why.
func (c *conn) serve(ctx context.Context) error {
	instead, err := c.handshake(ctx)
	if err != nil {
		return c.reason(ctx, err)
	}
	if instead != nil {
		if err := c.handle(ctx, instead); err != nil {
			return c.reason(ctx, inAnswer(instead, err))
		}
	}
	for !c.inlet.Interrupted() {
		f, err := c.reader.Next()
		if err != nil {
			return c.reason(ctx, err)
		}
		if err := c.handle(ctx, f); err != nil {
			return c.reason(ctx, inAnswer(f, err))
		}
		c.out.WaitRoom()
	}
	return c.reason(ctx, errInterrupted)
}

// handle acts on one frame.
func (c *conn) handle(ctx context.Context, f *wire.Frame) error {
	if c.held.Len() > 0 && !(overtakes(f.Command) && c.held.Room(0)) {
		if err := c.passHeld(); err != nil {
			return err
		}
	}
	if c.version == wire.V10 {
		trim(f)
	}
	switch f.Command {
	case wire.Send:
		return c.send(f)
	case wire.Ack:
		return c.ack(f, queue.Ack)
	case wire.Nack:
		return c.nack(f)
	case wire.Subscribe:
		return c.subscribe(f)
	case wire.Unsubscribe:
		return c.unsubscribe(f)
	case wire.Disconnect:
		return c.disconnect(ctx, f)
	case wire.Begin:
		return c.begin(f)
	case wire.Commit:
		return c.commit(f)
	case wire.Abort:
		return c.abort(f)
	case wire.Connect, wire.Stomp:
		return failure("Already connected", "%s is the first frame of a connection", f.Command)
	}
	return failure("Unexpected frame", "%s is sent by servers", f.Command)
}

// trim takes the spaces off the values that a frame of 1.0 says to the server: the specification's own examples write
// "login: name". What goes on to subscribers, and a receipt, stays as it is.
func trim(f *wire.Frame) {
	for i := range f.Headers {
		h := &f.Headers[i]
		switch {
		case h.Name == headerReceipt:
		case f.Command != wire.Send, h.Name == headerDestination, h.Name == headerTransaction:
			h.Value = strings.Trim(h.Value, " ")
		}
	}
}

// inAnswer is err as the answer to f.
func inAnswer(f *wire.Frame, err error) error {
	if errors.Is(err, errDisconnected) || errors.Is(err, errInterrupted) {
		return err
	}
	if errors.Is(err, session.ErrInterrupted) {
		return errInterrupted
	}
	e := refusal(err)
	if id, ok := f.Get(headerReceipt); ok && e.Receipt == "" {
		e.Receipt = string(append([]byte(nil), id...))
	}
	return e
}

// acknowledge has the RECEIPT that f asks for sent once receipt is safe and every RECEIPT before it is out, those of
// parked SEND frames included. STOMP 1.2, "RECEIPT".
func (c *conn) acknowledge(f *wire.Frame, receipt confirm.Receipt) {
	id, asked := receiptOf(f)
	if c.held.Len() > 0 {
		c.holdReceipt(id, asked, receipt)
		return
	}
	c.promise(id, asked, receipt)
}

// receiptOf returns a copy of the receipt header, if f has one: f lives until the next frame only.
func receiptOf(f *wire.Frame) (id string, asked bool) {
	id, asked = f.Get(headerReceipt)
	return strings.Clone(id), asked
}

// promise has the RECEIPT called id sent, if it was asked for, once receipt is safe.
func (c *conn) promise(id string, asked bool, receipt confirm.Receipt) {
	c.safe = c.safe.Join(receipt)
	if !asked {
		return
	}
	b := c.out.Begin()
	seq := c.order.Issue(id)
	c.out.End(b)
	receipt.Redeem(confirm.Ticket{To: c, Seq: seq})
}

// Confirmed is told by the log what is safe.
func (c *conn) Confirmed(first, last uint64, err error) {
	c.replied = c.out.Begin()
	c.order.Complete(first, last, err, c.receipted)
	b := c.replied
	c.replied = nil
	failed := err != nil
	c.out.End(b)
	if failed {
		c.interrupt()
	}
}

// receipt appends the RECEIPT whose turn it is. The outbox is held.
func (c *conn) receipt(seq uint64, id string, err error) {
	switch {
	case c.closing || c.failure != nil:
	case err != nil:
		c.failure = &Error{Message: "Not stored", Detail: "the message could not be made safe", Receipt: id, Cause: err}
	case id != "":
		a := wire.Appender{Version: c.version}
		b := a.Begin(c.replied, wire.Receipt)
		b = a.Header(b, headerReceiptID, id)
		c.replied = a.End(b)
	}
	if seq == c.goodbye {
		close(c.settled)
	}
}

// disconnect waits until everything the client sent before is safe, then answers. STOMP 1.2, "DISCONNECT".
func (c *conn) disconnect(ctx context.Context, f *wire.Frame) error {
	id, _ := f.Get(headerReceipt)
	id = string(append([]byte(nil), id...))
	b := c.out.Begin()
	seq := c.order.Issue(id)
	c.goodbye = seq
	c.out.End(b)
	// Who has said goodbye is sent nothing more: while the disk is waited for, others may have what it would lose.
	for _, s := range c.numbered {
		if err := s.detach(); err != nil {
			return err
		}
	}
	clear(c.numbered)
	c.safe.Redeem(confirm.Ticket{To: c, Seq: seq})
	select {
	case <-c.settled:
	case <-ctx.Done():
		return errInterrupted
	}
	return errDisconnected
}

// fail ends the connection from a goroutine other than its reader.
func (c *conn) fail(err error) {
	b := c.out.Begin()
	if c.failure == nil {
		c.failure = err
	}
	c.out.End(b)
	c.interrupt()
}

// interrupt has the reader return.
func (c *conn) interrupt() { c.inlet.Interrupt() }

// reason says why the connection ends, given what the reader saw.
func (c *conn) reason(ctx context.Context, seen error) error {
	b := c.out.Begin()
	failed := c.failure
	c.out.End(b)
	switch {
	case failed != nil:
		return failed
	case !errors.Is(seen, os.ErrDeadlineExceeded) && !errors.Is(seen, errInterrupted) && !errors.Is(seen, session.ErrInterrupted):
		return seen
	case ctx.Err() != nil:
		return &Error{Message: "Server is shutting down", Cause: context.Cause(ctx)}
	case c.version == 0:
		return failure("Handshake timed out", "no CONNECT within %v", c.server.limits.Handshake)
	}
	return seen
}

// worthTelling is err unless the connection ended as connections do.
func (c *conn) worthTelling(err error) error {
	if errors.Is(err, errDisconnected) || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// close says goodbye where the protocol has a word for the reason, gives everything back and closes the connection.
func (c *conn) close(why error) {
	c.inlet.Heart().Stop()
	c.inlet.Unwatch()
	c.inlet.Interrupt() // its deadlines are in nobody's way from here on
	c.dropHeld()
	last := c.lastFrame(why)
	if last == nil && !errors.Is(why, errDisconnected) && !errors.Is(why, io.EOF) {
		_ = c.net.Close() // the peer is gone: nothing waits for it to read
	}
	until := time.Now().Add(farewell)
	c.out.Finish(farewell) // deliveries end here, so that nothing follows the last frame
	b := c.out.Begin()
	c.closing = true
	if last != nil {
		a := wire.Appender{Version: c.version}
		b = appendError(&a, b, last)
	}
	c.out.End(b)
	c.out.Finish(time.Until(until))
	c.release()
	if last != nil {
		c.linger(until)
	}
	_ = c.net.Close()
}

// lastFrame is the ERROR frame that ends the connection, nil when its peer is gone or said goodbye itself.
func (c *conn) lastFrame(why error) *Error {
	var told *Error
	var format *wire.FormatError
	var limit *wire.LimitError
	if errors.As(why, &told) || errors.As(why, &format) || errors.As(why, &limit) {
		return refusal(why)
	}
	return nil
}

// linger reads on for a moment, because closing with bytes unread resets the connection and the peer would lose the
// ERROR frame that was on its way.
func (c *conn) linger(until time.Time) {
	half, ok := c.net.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.net.SetReadDeadline(until) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c.net)
}

// release gives back what the connection holds: unsettled messages first, so that they are in their queues before the
// queues that were only this connection's go.
func (c *conn) release() {
	for _, tx := range c.transactions {
		if err := tx.giveBack(); err != nil {
			c.server.log.Error("messages of a transaction not requeued", "conn", c.net.RemoteAddr(), "err", err)
		}
	}
	for _, s := range c.numbered {
		if err := s.detach(); err != nil {
			c.server.log.Error("messages not requeued", "conn", c.net.RemoteAddr(), "queue", s.subscription.Queue().Name(), "err", err)
		}
	}
	if c.router != nil {
		c.router.CloseOwner(c.origin)
	}
}
