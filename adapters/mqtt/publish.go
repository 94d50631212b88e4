package mqtt

import (
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

const topicExchange = router.TopicExchange

// publish handles a PUBLISH of the client (3.3): what is wrong with it is said at once, the rest may have to wait for
// the gate.
func (c *conn) publish(p *publishPacket) error {
	if err := c.resolveAlias(p); err != nil {
		return err
	}
	switch {
	case !validTopicName(p.topic): // [MQTT-3.3.2-2]
		return &Error{Reason: ReasonTopicNameInvalid, Text: "wildcard in a topic name"}
	case c.server.limits.tooDeep(p.topic):
		return &Error{Reason: ReasonTopicNameInvalid, Text: "too many levels in a topic name"}
	case strings.ContainsAny(p.responseTopic, "+#"): // [MQTT-3.3.2-14]
		return protocolError("wildcard in the response topic")
	case p.qos == qos2 && c.isReceived(p.id):
		if c.held.Len() > 0 { // its PUBREC has its place among the answers
			if err := c.passHeld(); err != nil {
				return err
			}
		}
		return c.again(p, false)
	case p.qos > 0:
		if err := c.count(); err != nil {
			return err
		}
	}
	if c.held.Len() > 0 || c.inlet.Shut() != 0 {
		return c.hold(p)
	}
	return c.deliver(p)
}

// again answers a PUBLISH that was sent again: the first one counts, its PUBREC is on the way or was lost
// [MQTT-4.3.3-10]. When the first one came on an earlier connection it may not be safe yet. counted says that count has
// counted it.
func (c *conn) again(p *publishPacket, counted bool) error {
	c.promise(answer{kind: typePubrec, id: p.id, counted: counted}, c.resumed)
	return nil
}

// deliver publishes what publish has found good.
func (c *conn) deliver(p *publishPacket) error {
	c.server.passOverdue()
	exchange, key, ok := c.target(p.topic)
	if !ok {
		if strings.HasPrefix(p.topic, replyPrefix) {
			// The address died with its connection, or is forged: to the client it has no subscriber.
			return c.refuse(p, LossUnknownReplyToken, ReasonNoMatchingSubscribers)
		}
		return c.refuse(p, LossRefusedTopic, ReasonNotAuthorized)
	}
	if p.misformed() {
		return c.refuse(p, LossPayloadFormat, ReasonPayloadFormatInvalid)
	}
	m := c.ingress.message(p, exchange, key, time.Now().UnixMilli())
	if c.ingress.delay > router.MaxDelay {
		return c.refuse(p, LossRefusedDelay, ReasonImplementationSpecific)
	}
	return c.route(p, m)
}

// resolveAlias puts the topic of an alias in, or remembers it (5.0, section 3.3.2.3.4).
func (c *conn) resolveAlias(p *publishPacket) error {
	switch {
	case !p.hasAlias && p.topic == "": // [MQTT-4.7.3-1]
		return protocolError("no topic")
	case !p.hasAlias:
		return nil
	case p.alias == 0 || int(p.alias) > c.server.limits.TopicAliases: // [MQTT-3.3.2-8] [MQTT-3.3.2-9]
		return &Error{Reason: ReasonTopicAliasInvalid, Text: "topic alias out of range"}
	}
	if c.aliases == nil {
		c.aliases = make([]string, c.server.limits.TopicAliases)
	}
	known := &c.aliases[p.alias-1]
	switch {
	case p.topic != "":
		*known = strings.Clone(p.topic)
	case *known == "":
		return protocolError("topic alias without a topic")
	default:
		p.topic = *known
	}
	return nil
}

// misformed reports whether the payload is not the text that the publisher says it is (5.0, section 3.3.2.3.2).
func (p *publishPacket) misformed() bool {
	return p.hasFormat && p.format == 1 && !utf8.Valid(p.payload)
}

func (c *conn) isReceived(id uint16) bool {
	_, ok := c.session.received[id]
	return ok
}

// count takes one of the client's receive maximum. Clients before 5.0 know no such limit; theirs is the log's.
func (c *conn) count() error {
	b := c.out.Begin()
	c.inbound++
	over := c.version == version5 && c.inbound > c.server.limits.ReceiveMaximum
	c.out.End(b)
	if over { // [MQTT-3.3.4-7]
		return &Error{Reason: ReasonReceiveMaximumExceeded, Text: "receive maximum exceeded"}
	}
	return nil
}

// target is where a topic is published. Topics that begin with $ belong to the gateway, except the reply addresses it
// gave out.
func (c *conn) target(topic string) (exchange, key string, ok bool) {
	if topic[0] != '$' {
		return topicExchange, c.ingress.key(topic), true
	}
	token, isReply := strings.CutPrefix(topic, replyPrefix)
	if !isReply || c.ingress.replies == nil {
		return "", "", false
	}
	return c.ingress.replies.Resolve(token)
}

// refuse answers a publish that is not accepted. Before 5.0 there is no word for it: the client gets its
// acknowledgement [MQTT-3.3.5-2], and the loss is counted.
func (c *conn) refuse(p *publishPacket, loss Loss, reason Reason) error {
	c.server.losses.add(loss)
	switch p.qos {
	case qos1:
		c.promise(answer{kind: typePuback, id: p.id, reason: reason, counted: true}, confirm.Receipt{})
	case qos2:
		failed := reason.Failed() && c.version == version5
		if !failed {
			c.session.receive(p.id, true)
		}
		c.promise(answer{kind: typePubrec, id: p.id, reason: reason, counted: failed}, confirm.Receipt{})
	}
	return nil
}

// route publishes m and answers when it is safe: PUBACK and PUBREC are promises.
func (c *conn) route(p *publishPacket, m *message.Message) error {
	m.Origin = c.session.origin
	rows := c.row[:0]
	if p.qos == qos2 && c.session.durable {
		// In the message's own record, so that no crash can separate them (decision 19).
		rows = append(rows, c.session.receivedRow(p.id, false))
	}
	if c.publisher == nil { // most devices are silent most of the time
		c.publisher = c.session.host.Router.NewPublisher(c.session.origin)
	}
	result, receipt, err := c.publisher.PublishAfter(c.ingress.delay, m, rows...)
	if _, known := errors.AsType[*router.Error](err); known {
		// The exchange of a reply address is gone.
		c.server.losses.add(LossUnknownReplyToken)
		result, err = router.Unroutable, nil
		if len(rows) > 0 {
			receipt, err = c.server.config.State.Put(rows...)
		}
	}
	if err != nil {
		return &Error{Reason: ReasonUnspecified, Text: "internal error", Cause: err}
	}
	if p.qos == qos0 {
		return nil
	}
	if result == router.Refused {
		return c.routeRefused(p, rows, receipt)
	}
	reason := ReasonSuccess
	if result == router.Unroutable {
		reason = ReasonNoMatchingSubscribers
	}
	if p.qos == qos1 {
		c.promise(answer{kind: typePuback, id: p.id, reason: reason, counted: true}, receipt)
		return nil
	}
	c.session.receive(p.id, true)
	c.promise(answer{kind: typePubrec, id: p.id, reason: reason}, receipt)
	return nil
}

// routeRefused ends the exchange of a message that a queue did not take, because it is at its limit: the identifier is
// free (5.0, figure 4.3), and the received row that Publish wrote goes, or what the client sends again would be taken
// for a duplicate and confirmed without being stored.
//
// One crash can still do that: one that keeps the router's acknowledgement for the queue, which Publish wrote after the
// message, and loses the tombstone, which is the next record. The row cannot be left out until the queues have
// answered, because a row in a later record than its message makes the same crash a duplicate of every message; only a
// router that puts the row's end into the record of that acknowledgement could close the gap.
//
// Clients before 5.0 have no word for it, so their connection is closed (architecture, section 5.1). They send the
// message again when they are back: every time the queues that did take it get another copy, until the full one has
// room. That is at least once for those queues also at quality of service 2, and counted.
func (c *conn) routeRefused(p *publishPacket, rows []queue.Row, receipt confirm.Receipt) error {
	if len(rows) > 0 {
		var err error
		if receipt, err = c.server.config.State.Put(c.session.receivedRow(p.id, true)); err != nil {
			return &Error{Reason: ReasonUnspecified, Text: "internal error", Cause: err}
		}
	}
	if c.version < version5 {
		c.server.losses.add(LossRefusedByQueue)
		return &Error{Reason: ReasonQuotaExceeded, Text: "a queue is at its limit"}
	}
	kind := typePuback
	if p.qos == qos2 {
		kind = typePubrec
	}
	c.promise(answer{kind: kind, id: p.id, reason: ReasonQuotaExceeded, counted: true}, receipt)
	return nil
}

// pubrel handles the client's PUBREL: the identifier is free, and PUBCOMP says so when that is safe.
func (c *conn) pubrel(id uint16) error {
	counted, known := c.session.received[id]
	if !known { // or known no more: its row was removed on an earlier connection, and must not come back
		c.promise(answer{kind: typePubcomp, id: id, reason: ReasonPacketIDNotFound}, c.resumed)
		return nil
	}
	delete(c.session.received, id)
	var receipt confirm.Receipt
	if c.session.durable {
		var err error
		if receipt, err = c.server.config.State.Put(c.session.receivedRow(id, true)); err != nil {
			return &Error{Reason: ReasonUnspecified, Text: "internal error", Cause: err}
		}
	}
	c.promise(answer{kind: typePubcomp, id: id, counted: counted}, receipt)
	return nil
}
