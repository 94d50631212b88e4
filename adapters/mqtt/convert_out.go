package mqtt

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"tridge/core/message"
	"tridge/core/router"
)

// maxRemaining is the largest remaining length a fixed header can hold (2.1.4).
const maxRemaining = 268_435_455

// egress turns messages into PUBLISH packets for one client. It belongs to the writer goroutine of one connection.
type egress struct {
	version     byte
	packetLimit int     // bytes of the largest packet the client takes; 0 is no limit
	aliasLimit  int     // topic aliases that may be set
	replies     Replies // may be nil
	losses      *Losses
	aliases     map[string]uint16 // topics that have one
	sent        uint64            // PUBLISH packets
	sentBytes   uint64            // of their payloads

	// scratch
	topic      []byte
	properties []byte
	headers    message.Headers
}

// outgoing is what a PUBLISH says beside its message.
type outgoing struct {
	id          uint16 // 0 at quality of service 0
	qos         byte
	dup         bool
	retain      bool
	identifiers []uint32 // subscription identifiers
	fallback    string   // topic of a message without a routing key; "" has none
}

// appendPublish appends the PUBLISH that delivers m. When it cannot be delivered to this client, dst comes back as it
// was, ok is false and the loss is counted. now is Unix milliseconds. It allocates nothing of its own for messages that
// came in by MQTT.
func (e *egress) appendPublish(dst []byte, m *message.Message, o *outgoing, now int64) (out []byte, ok bool) {
	topic, encoded := appendTopic(e.topic[:0], m.Key)
	if len(topic) == 0 {
		topic = append(topic, o.fallback...)
	}
	e.topic = topic
	switch {
	case len(topic) == 0: // [MQTT-4.7.3-1]
		e.losses.add(LossEmptyKey)
		return dst, false
	case len(topic) > maxTopic:
		e.losses.add(LossTopicTooLong)
		return dst, false
	case encoded:
		e.losses.add(LossTopicEncoded)
	}
	alias, known := e.alias(topic)
	full := len(topic)
	if known {
		topic = topic[:0]
	}
	size := 2 + len(topic) + len(m.Body)
	if o.qos > 0 {
		size += 2
	}
	var properties []byte
	if e.version == version5 {
		properties = e.properties[:0]
		if alias > 0 {
			properties = binary.BigEndian.AppendUint16(append(properties, 0x23), alias)
		}
		properties = e.appendProperties(properties, m, o, now)
		e.properties = properties
		size += varintSize(len(properties)) + len(properties)
	} else {
		e.countLosses(m)
	}
	if size > maxRemaining {
		e.losses.add(LossPacketEncoding)
		return dst, false
	}
	if e.packetLimit > 0 && 1+varintSize(size)+size > e.packetLimit {
		e.losses.add(LossPacketTooLarge)
		return dst, false
	}
	if alias > 0 && !known { // from here on nothing keeps it from being sent
		e.aliases[string(e.topic[:full])] = alias
	}
	e.sent++
	e.sentBytes += uint64(len(m.Body))
	dst = append(dst, byte(typePublish)<<4|bit(o.dup)<<3|o.qos<<1|bit(o.retain))
	dst = appendVarint(dst, size)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(topic)))
	dst = append(dst, topic...)
	if o.qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, o.id)
	}
	if e.version == version5 {
		dst = appendVarint(dst, len(properties))
		dst = append(dst, properties...)
	}
	return append(dst, m.Body...), true
}

// maxAliased is the longest topic that gets an alias: the memory is ours, too.
const maxAliased = 256

// alias returns the alias that a topic has or is to get, 0 for none (5.0, section 3.3.2.3.4). Those that come first keep
// theirs: a client that gets more topics than it takes aliases is not sent each of them twice.
func (e *egress) alias(topic []byte) (alias uint16, known bool) {
	if e.aliasLimit <= 0 {
		return 0, false
	}
	if alias, known = e.aliases[string(topic)]; known || len(e.aliases) >= e.aliasLimit || len(topic) > maxAliased {
		return alias, known
	}
	if e.aliases == nil {
		e.aliases = map[string]uint16{}
	}
	return uint16(len(e.aliases) + 1), false
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// appendProperties appends the properties of a 5.0 PUBLISH (3.3.2.3).
func (e *egress) appendProperties(dst []byte, m *message.Message, o *outgoing, now int64) []byte {
	protocol, _ := m.Head.String(message.Protocol)
	own := protocol == message.ProtocolMQTT
	for _, identifier := range o.identifiers {
		dst = appendVarint(append(dst, 0x0B), int(identifier))
	}
	if m.Expires != 0 { // counted down, never to nothing [MQTT-3.3.2-6]
		left := max((m.Expires-now+999)/1000, 1)
		if own && m.Expires == m.Time { // the publisher's word was 0: now or not at all
			left = 0
		}
		dst = binary.BigEndian.AppendUint32(append(dst, messageExpiryID), uint32(min(left, math.MaxUint32)))
	}
	if flag, ok := e.textFlag(m, own); ok {
		dst = append(dst, 0x01, flag)
	}
	if v, ok := m.Head.String(message.ContentType); ok {
		dst = e.appendTextProperty(dst, contentTypeID, v)
	}
	if !own {
		dst = e.appendReply(dst, m.Head)
	} else if v, ok := m.Head.String(message.ReplyTo); ok {
		dst = e.appendTextProperty(dst, 0x08, v)
	}
	if v, ok := m.Head.Bytes(message.CorrelationID); ok {
		if len(v) <= math.MaxUint16 {
			dst = binary.BigEndian.AppendUint16(append(dst, 0x09), uint16(len(v)))
			dst = append(dst, v...)
		} else {
			e.losses.add(LossCorrelation)
		}
	}
	if own {
		return appendOwnUserProperties(dst, m.Head)
	}
	return e.appendForeignUserProperties(dst, m.Head)
}

// textFlag is the payload format indicator: what the publisher said, else text when the content type says so and the
// bytes agree (never by the form of the bytes alone).
func (e *egress) textFlag(m *message.Message, own bool) (byte, bool) {
	if flag, ok := m.Head.Int(message.TextFlag); ok {
		return byte(flag & 1), true
	}
	if own {
		return 0, false
	}
	contentType, _ := m.Head.String(message.ContentType)
	return 1, isText(contentType) && utf8.Valid(m.Body)
}

func isText(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	kind = strings.TrimSpace(kind)
	return strings.HasPrefix(kind, "text/") || kind == "application/json" || strings.HasSuffix(kind, "+json")
}

// validText reports whether s can be a UTF-8 string of MQTT (1.5.4).
func validText(s string) bool {
	return textFits(s) && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

func (e *egress) appendTextProperty(dst []byte, identifier byte, s string) []byte {
	if !validText(s) {
		e.losses.add(LossPropertyText)
		return dst
	}
	return appendText(append(dst, identifier), s)
}

func (e *egress) appendUserProperty(dst []byte, name, value string) []byte {
	if !validText(name) || !validText(value) {
		e.losses.add(LossPropertyText)
		return dst
	}
	return appendUserProperty(dst, name, value)
}

func appendUserProperty(dst []byte, name, value string) []byte {
	return appendText(appendText(append(dst, userPropertyID), name), value)
}

// appendReply appends the response topic of a message that came by another protocol. An address on the topic exchange
// is a topic already; any other goes by a token that a client publishes to.
func (e *egress) appendReply(dst []byte, head message.Head) []byte {
	exchange, key, ok := head.Reply()
	if !ok {
		return dst
	}
	if token, isToken := strings.CutPrefix(key, router.ReplyPrefix); isToken && exchange == router.DefaultExchange && e.replies != nil {
		if toExchange, toKey, known := e.replies.Resolve(token); known {
			exchange, key = toExchange, toKey
		}
	}
	if exchange == router.TopicExchange && key != "" {
		if topic, encoded := appendTopic(nil, key); !encoded && len(topic) <= maxTopic {
			return appendText(append(dst, 0x08), string(topic))
		}
	}
	if e.replies != nil {
		if token, ok := e.replies.Token(exchange, key); ok {
			return e.appendTextProperty(dst, 0x08, replyPrefix+token)
		}
	}
	e.losses.add(LossReplyTo)
	return dst
}

// appendOwnUserProperties appends what a 5.0 publisher sent, in its order.
func appendOwnUserProperties(dst []byte, head message.Head) []byte {
	places, _ := head.Bytes(lifted)
	next, name, value, places := nextPlace(places)
	index := 0
	for header, v := range head.Headers().All() {
		for next == index {
			dst = appendUserProperty(dst, name, value)
			next, name, value, places = nextPlace(places)
			index++
		}
		if text, ok := v.String(); ok {
			dst = appendUserProperty(dst, header, text)
		} else {
			dst = appendUserProperty(dst, header, v.Text())
		}
		index++
	}
	for next >= 0 {
		dst = appendUserProperty(dst, name, value)
		next, name, value, places = nextPlace(places)
	}
	return dst
}

// userPropertyNames are the properties that MQTT has no field for, in the order they are sent.
var userPropertyNames = [...]struct {
	property message.Property
	name     string
}{
	{message.ContentEncoding, propertyContentEncoding},
	{message.MessageID, propertyMessageID},
	{message.Type, propertyType},
	{message.AppID, propertyAppID},
	{message.UserID, propertyUserID},
	{message.ClientID, stampClientID},
	{message.Protocol, stampProtocol},
}

// appendForeignUserProperties appends, for a message that came by another protocol, the properties that MQTT has no
// field for, the stamps, and the headers as text with their types beside them.
func (e *egress) appendForeignUserProperties(dst []byte, head message.Head) []byte {
	for _, p := range userPropertyNames {
		if v, ok := head.String(p.property); ok {
			dst = e.appendUserProperty(dst, p.name, v)
		}
	}
	if n, ok := head.Int(message.PriorityOctet); ok {
		dst = appendUserProperty(dst, propertyPriority, strconv.FormatInt(n, 10))
	}
	if n, ok := head.Int(message.Timestamp); ok {
		dst = appendUserProperty(dst, propertyTimestamp, strconv.FormatInt(n, 10))
	}
	if original, ok := head.String(message.ReplyOriginal); ok {
		dst = e.appendUserProperty(dst, propertyReplyToTopic, original)
	} else if original, ok := head.String(message.ReplyTo); ok {
		dst = e.appendUserProperty(dst, propertyReplyToTopic, original)
	}
	list := head.Headers()
	if len(list) == 0 {
		return dst
	}
	list = e.representable(list)
	for name, v := range list.All() {
		if text, ok := v.String(); ok {
			dst = appendUserProperty(dst, name, text)
		} else {
			dst = e.appendUserProperty(dst, name, v.Text())
		}
	}
	if hint := types(list); hint != "" {
		dst = e.appendUserProperty(dst, message.TypesHeader, hint)
	}
	return dst
}

// representable returns list as MQTT can carry it: text that is not UTF-8 becomes a byte array, which is carried as
// text with a type; a name that is not UTF-8 is lost and counted; so is a value no packet field can hold.
func (e *egress) representable(list message.Headers) message.Headers {
	fine := true
	for name, v := range list.All() {
		text, isText := v.String()
		fine = fine && validText(name) && (!isText || validText(text))
	}
	if fine {
		return list
	}
	e.headers = e.headers[:0]
	for name, v := range list.All() {
		text, isText := v.String()
		switch {
		case !validText(name):
			e.losses.add(LossHeaderName)
			continue
		case isText && !textFits(text):
			e.losses.add(LossPropertyText)
			continue
		case isText && !validText(text):
			v.Type = message.TypeBytes
		}
		e.headers = message.AppendField(e.headers, name, v)
	}
	return e.headers
}

// types is the hint for a header list: the types that are not text, and the text headers whose names would else be
// read as properties on the way back.
func types(list message.Headers) string {
	var hint strings.Builder
	hint.WriteString(list.Types())
	for name, v := range list.All() {
		if v.Type != message.TypeString || liftBit(name) == 0 {
			continue
		}
		if hint.Len() > 0 {
			hint.WriteByte(',')
		}
		hint.WriteString(name)
		hint.WriteByte('=')
		hint.WriteByte(message.TypeString)
	}
	return hint.String()
}

// countLosses counts what a client older than 5.0 is not told about m.
func (e *egress) countLosses(m *message.Message) {
	for property := range m.Head.All() {
		if loss, lost := lossOf(property); lost {
			e.losses.add(loss)
		}
	}
	if m.Expires != 0 {
		e.losses.add(LossExpiry)
	}
	if len(m.Head.Headers()) > 0 {
		e.losses.add(LossHeaders)
	}
}

// lossOf says under which name the absence of a property is counted. Stamps, and what only says how another property
// was written, are no loss.
func lossOf(p message.Property) (Loss, bool) {
	switch p {
	case message.ContentType:
		return LossContentType, true
	case message.ContentEncoding:
		return LossContentEncoding, true
	case message.CorrelationID:
		return LossCorrelation, true
	case message.ReplyTo:
		return LossReplyTo, true
	case message.MessageID:
		return LossMessageID, true
	case message.Type:
		return LossType, true
	case message.AppID:
		return LossAppID, true
	case message.UserID:
		return LossUserID, true
	case message.Timestamp:
		return LossTimestamp, true
	case message.PriorityOctet:
		return LossPriority, true
	case message.TextFlag:
		return LossTextFlag, true
	}
	return 0, false
}
