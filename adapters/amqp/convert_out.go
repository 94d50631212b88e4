package amqp

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strconv"
	"unicode/utf8"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
	"tridge/core/router"
)

// egress turns messages into basic properties. The result and what it points to are valid until the next call; the
// value belongs to one goroutine.
type egress struct {
	replies Replies
	losses  *Losses

	properties wire.BasicProperties
	extra      message.Headers // scratch: headers of ours
	table      message.Headers // scratch: the publisher's headers and ours
	counted    message.Headers // scratch: all of them and headerDeliveryCount
	names      []string        // scratch
}

// render returns the properties of m and the routing key to deliver it under. now is Unix milliseconds.
func (e *egress) render(m *message.Message, now int64) (*wire.BasicProperties, string) {
	e.properties = wire.BasicProperties{}
	e.extra = e.extra[:0]
	var headers message.Headers
	if protocol, _ := m.Head.String(message.Protocol); protocol == message.ProtocolAMQP {
		var original []byte
		if headers, original = e.native(m); original != nil {
			e.properties.Flags |= wire.FlagHeaders
			e.properties.Headers = message.Headers(original)
			return &e.properties, shortKey(m.Key)
		}
	} else {
		e.foreign(m, now)
		headers = e.tableFrom(m.Head.Headers())
	}
	if m.Retain {
		e.extra = message.AppendField(e.extra, headerRetain, message.BoolValue(true))
	}
	if m.Guarantee == message.ExactlyOnce {
		e.extra = message.AppendField(e.extra, headerQoS, message.Value{Type: message.TypeUint8, Raw: []byte{2}})
	}
	key := m.Key
	if len(key) > maxShortString {
		e.extra = message.AppendStringField(e.extra, headerTopic, swap(key))
		key = shortKey(key)
	}
	if len(e.extra) > 0 {
		e.table = append(append(e.table[:0], headers...), e.extra...)
		headers = e.table
	}
	if headers != nil {
		e.properties.Flags |= wire.FlagHeaders
		e.properties.Headers = headers
	}
	return &e.properties, key
}

// headerDeliveryCount is how many deliveries of a message have come back to its queue before this one. RabbitMQ's quorum
// queues write it from the second delivery on.
const headerDeliveryCount = "x-delivery-count"

// count adds the number of earlier deliveries to what render has returned. A publisher's own header of that name gives
// way.
func (e *egress) count(attempts uint16) {
	e.counted = e.counted[:0]
	for name, v := range e.properties.Headers.All() {
		if name != headerDeliveryCount {
			e.counted = message.AppendField(e.counted, name, v)
		}
	}
	raw := [8]byte{6: byte(attempts >> 8), 7: byte(attempts)}
	e.counted = message.AppendField(e.counted, headerDeliveryCount, message.Value{Type: message.TypeInt64, Raw: raw[:]})
	e.properties.Flags |= wire.FlagHeaders
	e.properties.Headers = e.counted
}

// native gives back what an AMQP publisher wrote, byte for byte. original is the whole table, where headers are not.
func (e *egress) native(m *message.Message) (headers message.Headers, original []byte) {
	p := &e.properties
	rest := m.Head
	for {
		property, v, after, ok := rest.Next()
		if !ok {
			return rest.Headers(), original
		}
		rest = after
		switch property {
		case message.Protocol:
		case message.OriginalTable:
			original = v
		case message.ReplyTo:
			p.Flags |= wire.FlagReplyTo
			p.ReplyTo = alias(v)
		case message.CorrelationID:
			if len(v) > maxShortString {
				e.longCorrelation(v)
				continue
			}
			p.Flags |= wire.FlagCorrelationID
			p.CorrelationID = alias(v)
		case correlationText: // comes after what it stands for
			p.CorrelationID = alias(v)
		case message.Expiration:
			p.Flags |= wire.FlagExpiration
			p.Expiration = alias(v)
		case message.DeliveryMode:
			p.Flags |= wire.FlagDeliveryMode
			p.DeliveryMode = uint8(integer(v))
		case message.ClusterID:
			p.Flags |= wire.FlagClusterID
			p.ClusterID = alias(v)
		case message.ReplyOriginal:
			e.extra = message.AppendStringField(e.extra, headerReplyOriginal, alias(v))
		default:
			e.common(property, v)
		}
	}
}

// foreign says in AMQP's words what a publisher of another protocol wrote.
func (e *egress) foreign(m *message.Message, now int64) {
	p := &e.properties
	for property, v := range m.Head.All() {
		switch property {
		case message.CorrelationID:
			e.correlation(v)
		case message.Protocol:
			e.extra = message.AppendStringField(e.extra, headerProtocol, alias(v))
		case message.ClientID:
			e.extra = message.AppendStringField(e.extra, headerClientID, alias(v))
		default:
			e.common(property, v)
		}
	}
	e.reply(m.Head)
	p.Flags |= wire.FlagDeliveryMode
	p.DeliveryMode = transient
	if m.Durable() {
		p.DeliveryMode = persistent
	}
	if m.Expires != 0 {
		// What is left; it has not expired yet, so there is something left.
		p.Flags |= wire.FlagExpiration
		p.Expiration = strconv.FormatInt(max(1, m.Expires-now), 10)
	}
}

// common sets what every protocol's publishers say alike.
func (e *egress) common(property message.Property, v []byte) {
	p := &e.properties
	switch property {
	case message.Timestamp:
		p.Flags |= wire.FlagTimestamp
		p.Timestamp = uint64(integer(v))
	case message.PriorityOctet:
		p.Flags |= wire.FlagPriority
		p.Priority = uint8(min(integer(v), 255))
	case message.TextFlag:
		flag := message.Value{Type: message.TypeUint8, Raw: []byte{byte(integer(v))}}
		e.extra = message.AppendField(e.extra, headerTextFlag, flag)
	}
	for i := range textProperties {
		t := &textProperties[i]
		if t.property != property {
			continue
		}
		if len(v) > maxShortString {
			e.extra = message.AppendStringField(e.extra, t.header, alias(v))
			return
		}
		p.Flags |= t.flag
		*t.in(p) = alias(v)
		return
	}
}

// correlation writes bytes that are not text as base64: clients take the property for text.
func (e *egress) correlation(v []byte) {
	text := alias(v)
	if !utf8.Valid(v) {
		text = binaryPrefix + base64.StdEncoding.EncodeToString(v)
	}
	if len(text) > maxShortString {
		e.longCorrelation(v)
		return
	}
	e.properties.Flags |= wire.FlagCorrelationID
	e.properties.CorrelationID = text
}

// longCorrelation carries bytes that no short string holds.
func (e *egress) longCorrelation(v []byte) {
	raw := binary.BigEndian.AppendUint32(nil, uint32(len(v)))
	e.extra = message.AppendField(e.extra, headerCorrelationID, message.Value{Type: message.TypeBytes, Raw: append(raw, v...)})
}

// reply sets reply-to to the name of a queue, or to a token that stands for the address on the default exchange. The
// address as it was before the first change goes along.
func (e *egress) reply(head message.Head) {
	written, ok := head.String(message.ReplyTo)
	if !ok {
		return
	}
	exchange, key, _ := head.Reply()
	name := key
	if exchange != router.DefaultExchange || len(key) > maxShortString {
		token, ok := "", false
		if e.replies != nil {
			token, ok = e.replies.Token(exchange, key)
		}
		if name = router.ReplyPrefix + token; !ok || len(name) > maxShortString {
			e.losses.add(LossReplyTo)
			name = ""
		}
	}
	if name != "" {
		e.properties.Flags |= wire.FlagReplyTo
		e.properties.ReplyTo = name
	}
	original, changed := head.String(message.ReplyOriginal)
	if !changed {
		original, changed = written, written != name
	}
	if changed {
		e.extra = message.AppendStringField(e.extra, headerReplyOriginal, original)
	}
}

// tableFrom makes a table of headers that may repeat a name or have one too long: the last of a name is in the table,
// and the whole list goes along in a header of ours. Nearly always there is nothing to do.
func (e *egress) tableFrom(h message.Headers) message.Headers {
	repeated, long := e.look(h)
	if !repeated && !long {
		return h
	}
	seen := map[string]int{}
	for name := range h.All() {
		seen[name]++
	}
	table := message.Headers{}
	var list []message.Value
	for name, v := range h.All() {
		if len(name) > maxShortString {
			e.losses.add(LossHeaderName)
			continue
		}
		list = append(list, message.TableValue(message.AppendField(message.Headers{}, name, v)))
		if seen[name]--; seen[name] == 0 {
			table = message.AppendField(table, name, v)
		}
	}
	if repeated {
		e.extra = message.AppendField(e.extra, headerDuplicates, message.ArrayValue(list...))
	}
	return table
}

// look reports whether a name is repeated or too long, without allocating for a handful of headers.
func (e *egress) look(h message.Headers) (repeated, long bool) {
	e.names = e.names[:0]
	var many map[string]struct{}
	for name := range h.All() {
		long = long || len(name) > maxShortString
		if many == nil && len(e.names) == fewHeaders {
			many = map[string]struct{}{}
			for _, n := range e.names {
				many[n] = struct{}{}
			}
		}
		if many == nil {
			repeated = repeated || slices.Contains(e.names, name)
			e.names = append(e.names, name)
			continue
		}
		_, twice := many[name]
		repeated = repeated || twice
		many[name] = struct{}{}
	}
	clear(e.names) // they alias the message
	return repeated, long
}

const fewHeaders = 16
