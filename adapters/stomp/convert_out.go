package stomp

import (
	"encoding/base64"
	"strconv"
	"strings"

	"tridge/adapters/stomp/wire"
	"tridge/core/message"
	"tridge/core/router"
)

// egress turns messages into MESSAGE frames for one client. It belongs to the writer goroutine of one connection.
type egress struct {
	appender wire.Appender
	session  string
	replies  Replies // may be nil
	losses   *Losses

	// scratch
	headers message.Headers
}

// delivery is what a MESSAGE frame says beside its message.
type delivery struct {
	subscription string // id the client gave, "" in 1.0 when it gave none
	number       uint64 // of the subscription on this connection
	sequence     uint64 // of the message in the subscription
	ack          bool   // the client must settle it
	redelivered  bool
}

// appendMessage appends the MESSAGE frame that delivers m. now is Unix milliseconds. It allocates nothing of its own
// for messages that came in by STOMP.
func (e *egress) appendMessage(dst []byte, m *message.Message, d *delivery, now int64) []byte {
	a := &e.appender
	a.Replaced = 0
	dst = a.Begin(dst, wire.Message)
	if d.subscription != "" {
		dst = a.Header(dst, headerSubscription, d.subscription)
	}
	dst = e.appendToken(dst, headerMessageID, d)
	dst = appendDestination(a, dst, m.Exchange, m.Key)
	if d.ack && a.Version >= wire.V12 {
		dst = e.appendToken(dst, "ack", d)
	}
	if d.redelivered {
		dst = a.Header(dst, "redelivered", "true")
	}
	protocol, _ := m.Head.String(message.Protocol)
	_, died := m.Head.Header("x-death")
	if own := protocol == message.ProtocolSTOMP; own && !died {
		dst = e.appendOwn(dst, m.Head)
	} else {
		dst = e.appendForeign(dst, m, own, now)
	}
	if a.Replaced > 0 {
		e.losses.add(LossHeaderOctet)
	}
	return a.Body(dst, m.Body)
}

// appendToken appends a header that names the delivery: session, number of the subscription, number of the message.
// parseToken reads it back.
func (e *egress) appendToken(dst []byte, name string, d *delivery) []byte {
	dst = e.appender.OpenHeader(dst, name)
	dst = append(dst, e.session...)
	dst = append(dst, '-')
	dst = strconv.AppendUint(dst, d.number, 10)
	dst = append(dst, '-')
	dst = strconv.AppendUint(dst, d.sequence, 10)
	return e.appender.CloseHeader(dst)
}

// parseToken reads what names a delivery; false when it names none of this session.
func parseToken(token, session string) (number, sequence uint64, ok bool) {
	rest, found := strings.CutPrefix(token, session)
	if !found || len(rest) < 2 || rest[0] != '-' {
		return 0, 0, false
	}
	first, second, found := strings.Cut(rest[1:], "-")
	if !found {
		return 0, 0, false
	}
	number, err := strconv.ParseUint(first, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	sequence, err = strconv.ParseUint(second, 10, 64)
	return number, sequence, err == nil
}

// appendOwn appends the headers of a SEND as they came, in their order.
func (e *egress) appendOwn(dst []byte, head message.Head) []byte {
	list, _ := head.Bytes(originals)
	next := nextOriginal(list)
	index := 0
	for name, v := range head.Headers().All() {
		for ; next.index == index; index++ {
			dst = e.appender.Header(dst, next.name, next.value)
			next = nextOriginal(next.rest)
		}
		dst = e.appendField(dst, name, v)
		index++
	}
	for ; next.index >= 0; next = nextOriginal(next.rest) {
		dst = e.appender.Header(dst, next.name, next.value)
	}
	return dst
}

func (e *egress) appendField(dst []byte, name string, v message.Value) []byte {
	if !deliverable(name) {
		e.losses.add(LossReservedName)
		return dst
	}
	if text, ok := v.String(); ok {
		return e.appender.Header(dst, name, text)
	}
	return e.appender.Header(dst, name, v.Text())
}

// appendForeign appends the properties of a message that came by another protocol (or that STOMP's own headers do not
// describe any more, because it was dead-lettered), the stamps, and the headers as text with their types beside them.
func (e *egress) appendForeign(dst []byte, m *message.Message, own bool, now int64) []byte {
	dst = e.appendTexts(dst, m.Head)
	dst = e.appendReply(dst, m.Head, own)
	if id, ok := m.Head.String(message.CorrelationID); ok {
		if isText(id) {
			dst = e.appender.Header(dst, "correlation-id", id)
		} else {
			dst = e.appender.Header(dst, "correlation-id", binaryPrefix+base64.StdEncoding.EncodeToString([]byte(id)))
		}
	}
	if n, ok := m.Head.Int(message.Timestamp); ok {
		dst = e.appender.IntHeader(dst, "timestamp", n)
	}
	if n, ok := m.Head.Int(message.PriorityOctet); ok {
		dst = e.appender.IntHeader(dst, "priority", n)
	}
	if m.Durable() {
		dst = e.appender.Header(dst, "persistent", "true")
	}
	if m.Guarantee == message.ExactlyOnce {
		dst = e.appender.Header(dst, "x-mqtt-qos", "2")
	}
	if m.Retain {
		dst = e.appender.Header(dst, "x-mqtt-retain", "true")
	}
	if n, ok := m.Head.Int(message.TextFlag); ok {
		dst = e.appender.IntHeader(dst, "x-mqtt-payload-format", n)
	}
	if m.Expires != 0 { // counted down, never to nothing
		dst = e.appender.IntHeader(dst, "expiration", max(m.Expires-now, 1))
	}
	if !own {
		dst = e.appendStamps(dst, m.Head)
	}
	return e.appendHeaders(dst, m.Head.Headers())
}

// appendTexts appends the properties that are text and mean the same in every protocol.
func (e *egress) appendTexts(dst []byte, head message.Head) []byte {
	for p, raw := range head.All() {
		name := ""
		switch p {
		case message.ContentType:
			name = "content-type"
		case message.ContentEncoding:
			name = "content-encoding"
		case message.MessageID:
			name = headerAMQPMessageID
		case message.Type:
			name = "type"
		case message.AppID:
			name = "app-id"
		case message.UserID:
			name = "user-id"
		case message.ClusterID:
			e.losses.add(LossClusterID)
		}
		if name != "" {
			dst = e.appender.Header(dst, name, e.text(alias(raw)))
		}
	}
	return dst
}

// text is s, repaired when it is not UTF-8: STOMP headers are (STOMP 1.2, "Value Encoding").
func (e *egress) text(s string) string {
	fine := strings.ToValidUTF8(s, "\uFFFD")
	if fine != s {
		e.losses.add(LossPropertyText)
	}
	return fine
}

// appendReply appends the reply address as a destination this client can SEND to: a queue by its name, anything else
// by a token. The address as the publisher wrote it goes beside it.
func (e *egress) appendReply(dst []byte, head message.Head, own bool) []byte {
	written, ok := head.String(message.ReplyTo)
	if !ok {
		return dst
	}
	before, wandered := head.String(message.ReplyOriginal)
	switch {
	case own:
		dst = e.appender.Header(dst, "reply-to", written)
	default:
		exchange, key, _ := head.Reply()
		if exchange != router.DefaultExchange {
			token, made := "", false
			if e.replies != nil {
				token, made = e.replies.Token(exchange, key)
			}
			if !made {
				e.losses.add(LossReplyTo)
				break
			}
			key = router.ReplyPrefix + token
		}
		dst = e.appender.OpenHeader(dst, "reply-to")
		dst = append(dst, replyQueuePrefix...)
		dst = e.appender.CloseHeader(appendEncoded(&e.appender, dst, key))
		if !wandered {
			before, wandered = written, true
		}
	}
	if wandered {
		dst = e.appender.Header(dst, headerReplyOriginal, e.text(before))
	}
	return dst
}

func (e *egress) appendStamps(dst []byte, head message.Head) []byte {
	if v, ok := head.String(message.ClientID); ok {
		dst = e.appender.Header(dst, headerClientID, e.text(v))
	}
	if v, ok := head.String(message.Protocol); ok {
		dst = e.appender.Header(dst, headerProtocol, v)
	}
	return dst
}

// appendHeaders appends a header list as text, and the types that text does not show.
func (e *egress) appendHeaders(dst []byte, list message.Headers) []byte {
	if len(list) == 0 {
		return dst
	}
	list = e.representable(list)
	for name, v := range list.All() {
		dst = e.appendField(dst, name, v)
	}
	if hint := typesHint(list); hint != "" {
		dst = e.appender.Header(dst, message.TypesHeader, hint)
	}
	return dst
}

// representable returns list as STOMP can carry it: text that is not UTF-8, or holds a NUL that no version can escape,
// becomes a byte array, which is carried as text with a type.
func (e *egress) representable(list message.Headers) message.Headers {
	fine := true
	for _, v := range list.All() {
		text, ok := v.String()
		fine = fine && (!ok || isText(text))
	}
	if fine {
		return list
	}
	e.headers = e.headers[:0]
	for name, v := range list.All() {
		if text, ok := v.String(); ok && !isText(text) {
			v.Type = message.TypeBytes
		}
		e.headers = message.AppendField(e.headers, name, v)
	}
	return e.headers
}
