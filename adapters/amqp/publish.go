package amqp

import (
	"errors"
	"strings"

	"tridge/adapters/amqp/wire"
	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/router"
)

// incoming is the publish that is being assembled from its frames: method, header, body (0-9-1 §4.2.6).
type incoming struct {
	stage     stage
	mandatory bool
	exchange  string // owned; kept from publish to publish, so that only a change of address costs a copy
	key       string
	message   *message.Message
	also      []string // further routing keys
	remaining uint64   // of the body

	assembling int // its share of conn.assembling
}

type stage uint8

const (
	awaitMethod stage = iota
	awaitHeader
	awaitBody
)

// inOneBlock is the size up to which head and body are one allocation.
const inOneBlock = 64 << 10

// headSlack is how much longer a head may be than the header frame it is made from, before it costs a copy.
const headSlack = 64

// expectsMethod refuses a method in the middle of a publish.
func (in *incoming) expectsMethod() error {
	if in.stage == awaitMethod {
		return nil
	}
	return in.unexpected()
}

// unexpected refuses a frame that is not what comes next, in RabbitMQ's words.
func (in *incoming) unexpected() *Error {
	switch in.stage {
	case awaitHeader:
		return failure(wire.UnexpectedFrame, "expected content header for class %d, got non content header frame instead",
			wire.IDBasicPublish.Class()).at(wire.IDBasicPublish)
	case awaitBody:
		return failure(wire.UnexpectedFrame, "expected content body, got non content body frame instead").at(wire.IDBasicPublish)
	}
	return failure(wire.UnexpectedFrame, "expected method frame, got non method frame instead")
}

// publish begins a publish; its content follows.
func (ch *channel) publish(m *wire.BasicPublish) error {
	if m.Immediate {
		return failure(wire.NotImplemented, "immediate=true")
	}
	in := &ch.incoming
	if in.exchange != m.Exchange {
		in.exchange = strings.Clone(m.Exchange)
	}
	if in.key != m.RoutingKey {
		in.key = strings.Clone(m.RoutingKey)
	}
	in.mandatory, in.stage = m.Mandatory, awaitHeader
	return nil
}

// header takes the content header of a publish.
func (ch *channel) header(payload []byte) error {
	in := &ch.incoming
	if in.stage != awaitHeader {
		return in.unexpected()
	}
	var h wire.ContentHeader
	switch err := h.Decode(payload); {
	case errors.Is(err, wire.ErrWeight):
		return in.unexpected()
	case err != nil:
		return failure(wire.SyntaxError, "malformed content header").at(wire.IDBasicPublish)
	}
	if h.Class != wire.IDBasicPublish.Class() {
		return failure(wire.UnexpectedFrame, "expected content header for class %d, got one for class %d instead",
			wire.IDBasicPublish.Class(), h.Class).at(wire.IDBasicPublish)
	}
	if limit := ch.conn.server.limits.MessageSize; h.Size > uint64(limit) {
		return failure(wire.PreconditionFailed, "message size %d is larger than configured max size %d", h.Size, limit).at(wire.IDBasicPublish)
	}
	if err := ch.admit(int(h.Size)); err != nil {
		return err
	}
	if ch.released { // by a publish that was parked: nothing of this one counts
		return nil
	}
	room := len(payload) + headSlack
	if h.Size <= inOneBlock {
		room += int(h.Size)
	}
	m := &message.Message{Exchange: in.exchange, Key: in.key, Origin: ch.conn.origin, Time: ch.conn.now()}
	block := make([]byte, 0, room)
	if e, ok := ch.setReplyTo(&h.Properties).(*Error); ok {
		return e.at(wire.IDBasicPublish)
	}
	block, err := ch.conn.ingress.accept(m, block, &h.Properties)
	if e, ok := err.(*Error); ok {
		return e.at(wire.IDBasicPublish)
	}
	if rest := block[len(block):]; uint64(cap(rest)) >= h.Size {
		m.Body = rest // not reached by m.Head, which ends where it starts
	}
	in.message, in.also, in.remaining, in.stage = m, ch.conn.ingress.also, h.Size, awaitBody
	if h.Size == 0 {
		return ch.complete()
	}
	return nil
}

// body takes one piece of the body. Room grows with what has arrived: what was announced costs nothing.
func (ch *channel) body(payload []byte) error {
	in := &ch.incoming
	switch {
	case in.stage != awaitBody:
		return in.unexpected()
	case uint64(len(payload)) > in.remaining:
		return in.unexpected()
	}
	m := in.message
	if arrived := len(m.Body) + len(payload); arrived > cap(m.Body) {
		whole := uint64(len(m.Body)) + in.remaining
		grown := make([]byte, len(m.Body), min(whole, uint64(2*arrived)))
		copy(grown, m.Body)
		m.Body = grown
	}
	m.Body = append(m.Body, payload...)
	if in.remaining -= uint64(len(payload)); in.remaining > 0 {
		return nil
	}
	return ch.complete()
}

// complete publishes the assembled message, or parks it while the gate is shut.
func (ch *channel) complete() error {
	in, c := &ch.incoming, ch.conn
	m := in.message
	in.message, in.stage = nil, awaitMethod
	c.assembling -= in.assembling
	in.assembling = 0
	if c.inlet.Shut() != 0 || c.held.Len() > 0 {
		ch.hold(m, in.also)
		return nil
	}
	return ch.route(m, in.also, in.mandatory)
}

// route publishes a message. What the protocol wants said first (basic.return) is in the outbox before
// the receipt is redeemed, because redeeming it may confirm at once.
//
// On a transactional channel it waits for the commit.
func (ch *channel) route(m *message.Message, also []string, mandatory bool) error {
	if ch.tx != nil {
		if e, ok := ch.keep(m, also, mandatory).(*Error); ok {
			return e.at(wire.IDBasicPublish)
		}
		return nil
	}
	var ticket confirm.Ticket
	if ch.confirming {
		b := ch.conn.out.Begin()
		ticket = confirm.Ticket{To: ch, Seq: ch.confirms.Issue(struct{}{})}
		ch.conn.out.End(b)
	}
	result, receipt, err := ch.publishNow(m, also)
	if err != nil {
		if e, ok := refusal(err).(*Error); ok {
			return e.at(wire.IDBasicPublish)
		}
	}
	switch result {
	case router.Refused:
		ticket.Done(errRefused)
		return nil
	case router.Unroutable:
		if mandatory {
			ch.returnMessage(m)
		}
	}
	receipt.Redeem(ticket)
	return nil
}

// returnMessage gives an unroutable message back (0-9-1, basic.return).
func (ch *channel) returnMessage(m *message.Message) {
	c := ch.conn
	properties, key := c.replied.render(m, m.Time)
	returned := wire.BasicReturn{ReplyCode: uint16(wire.NoRoute), ReplyText: wire.NoRoute.String(), Exchange: m.Exchange, RoutingKey: key}
	b := c.out.Begin()
	start := len(b)
	b = returned.AppendFrame(b, ch.number)
	b, ok := wire.AppendContent(b, ch.number, properties, m.Body, c.frameMax)
	if !ok {
		b = b[:start]
		c.server.losses.add(LossProperty)
	}
	c.out.End(b)
}
