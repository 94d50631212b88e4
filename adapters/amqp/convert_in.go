package amqp

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
	"tridge/core/router"
)

// ingress turns the content of basic.publish into messages.
type ingress struct {
	user    string // the authenticated one
	replies Replies
	losses  *Losses

	also []string // further routing keys of the message accepted last
}

// Values of delivery-mode.
const (
	transient  = 1
	persistent = 2
)

// accept fills m from p and appends its head to dst, which m.Head then aliases. m.Time, m.Exchange and m.Key are set
// already; m.Key may be replaced by the long key that it stands for.
func (in *ingress) accept(m *message.Message, dst []byte, p *wire.BasicProperties) ([]byte, error) {
	var special *specialHeaders
	in.also = nil
	if p.Flags&wire.FlagHeaders != 0 && hasSpecial(p.Headers) {
		var err error
		if special, err = in.readSpecial(p); err != nil {
			return dst, err
		}
	}
	if err := in.setFields(m, p, special); err != nil {
		return dst, err
	}
	start := len(dst)
	head := message.AppendString(dst, message.Protocol, message.ProtocolAMQP)
	head = in.appendProperties(head, p, special)
	switch {
	case special != nil:
		head = message.AppendHeaders(special.appendProperties(head), special.headers)
	case p.Flags&wire.FlagHeaders != 0:
		// Also when there are none: a consumer sees an empty table where the publisher wrote one.
		head = append(message.BeginHeaders(head), p.Headers...)
	}
	m.Head = head[start:len(head):len(head)]
	return head, nil
}

// setFields sets what the router and the queues look at.
func (in *ingress) setFields(m *message.Message, p *wire.BasicProperties, special *specialHeaders) error {
	if p.Flags&wire.FlagUserID != 0 && p.UserID != in.user {
		return failure(wire.PreconditionFailed, "user_id property set to '%s' but authenticated user was '%s'", p.UserID, in.user)
	}
	if p.Flags&wire.FlagExpiration != 0 {
		life, wrong := readExpiration(p.Expiration)
		if wrong != "" {
			return failure(wire.PreconditionFailed, "invalid expiration '%s': %s", p.Expiration, wrong)
		}
		m.Expires = deadline(m.Time, life)
	}
	if p.Flags&wire.FlagPriority != 0 {
		m.Priority = p.Priority
	}
	if p.Flags&wire.FlagDeliveryMode != 0 && p.DeliveryMode == persistent {
		m.Guarantee = message.AtLeastOnce
		if special != nil && special.exactlyOnce {
			m.Guarantee = message.ExactlyOnce
		}
	}
	if special != nil {
		m.Retain = special.retain
		if special.topic != "" && shortKey(special.topic) == m.Key {
			m.Key = special.topic
		}
	}
	return nil
}

// readExpiration returns the time to live in milliseconds, or what is wrong with the text as RabbitMQ says it. RabbitMQ
// stops at 32 bits; here a time that came from MQTT, which counts 32 bits of seconds, must find its way back.
func readExpiration(text string) (life uint64, wrong string) {
	digits := strings.TrimLeft(text, "+-")
	end := 0
	for end < len(digits) && '0' <= digits[end] && digits[end] <= '9' {
		end++
	}
	sign := text[:len(text)-len(digits)]
	switch {
	case end == 0 || len(sign) > 1:
		return 0, "no_integer"
	case end < len(digits):
		return 0, fmt.Sprintf("{leftover_string,%q}", digits[end:])
	}
	life, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case sign == "-" && (err != nil || life > 0):
		return 0, "{value_negative,-" + digits + "}"
	case err != nil:
		return 0, "{value_too_large," + digits + "}"
	}
	return life, ""
}

// deadline is life milliseconds after now, without overflow.
func deadline(now int64, life uint64) int64 {
	if life > uint64(math.MaxInt64-now) {
		return math.MaxInt64
	}
	return now + int64(life)
}

// appendProperties appends everything of p but its headers.
func (in *ingress) appendProperties(head message.Head, p *wire.BasicProperties, special *specialHeaders) message.Head {
	for i := range textProperties {
		t := &textProperties[i]
		if p.Flags&t.flag != 0 {
			head = message.AppendString(head, t.property, *t.in(p))
		} else if special != nil && special.texts[i] != "" {
			head = message.AppendString(head, t.property, special.texts[i])
		}
	}
	switch {
	case p.Flags&wire.FlagCorrelationID != 0:
		head = appendCorrelation(head, p.CorrelationID)
	case special != nil && special.correlation != nil:
		head = message.AppendBytes(head, message.CorrelationID, special.correlation)
	}
	if p.Flags&wire.FlagReplyTo != 0 {
		head = message.AppendString(head, message.ReplyTo, p.ReplyTo)
		if token, ok := strings.CutPrefix(p.ReplyTo, router.ReplyPrefix); ok && in.replies != nil {
			if exchange, key, ok := in.replies.Resolve(token); ok {
				head = message.AppendString(head, message.ReplyExchange, exchange)
				head = message.AppendString(head, message.ReplyKey, key)
			}
		}
	}
	if p.Flags&wire.FlagTimestamp != 0 {
		head = message.AppendInt(head, message.Timestamp, int64(p.Timestamp))
	}
	if p.Flags&wire.FlagExpiration != 0 {
		head = message.AppendString(head, message.Expiration, p.Expiration)
	}
	if p.Flags&wire.FlagDeliveryMode != 0 {
		head = message.AppendInt(head, message.DeliveryMode, int64(p.DeliveryMode))
	}
	if p.Flags&wire.FlagPriority != 0 {
		head = message.AppendInt(head, message.PriorityOctet, int64(p.Priority))
	}
	if p.Flags&wire.FlagClusterID != 0 {
		head = message.AppendString(head, message.ClusterID, p.ClusterID)
	}
	return head
}

// appendCorrelation restores the bytes that a text of ours stands for, and keeps the text for other AMQP clients; any
// other text is taken as it is.
func appendCorrelation(head message.Head, text string) message.Head {
	if encoded, ok := strings.CutPrefix(text, binaryPrefix); ok {
		raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err == nil && !utf8.Valid(raw) {
			head = message.AppendBytes(head, message.CorrelationID, raw)
			return message.AppendString(head, correlationText, text)
		}
	}
	return message.AppendString(head, message.CorrelationID, text)
}

// specialHeaders is what the headers that mean something to the gateway say, and the headers without them.
type specialHeaders struct {
	headers       message.Headers
	original      message.Headers // what AMQP clients get: all but what no client may say
	texts         [len(textProperties)]string
	correlation   []byte
	replyOriginal string
	topic         string // routing key that x-mqtt-topic stands for
	types         string
	duplicates    message.Value
	blind         message.Value // the header BCC
	retain        bool
	exactlyOnce   bool
	hasTextFlag   bool
	textFlag      int64
}

// hasSpecial is the quick look at headers that most messages pass.
func hasSpecial(h message.Headers) bool {
	for name := range h.All() {
		if len(name) > 1 && (name[0] == 'x' && isSpecial(name) || name == headerCopies || name == headerBlindCopies) {
			return true
		}
	}
	return false
}

func isSpecial(name string) bool {
	return strings.HasPrefix(name, headerGateway) || strings.HasPrefix(name, headerMQTT) || name == headerReplyOriginal
}

func (in *ingress) readSpecial(p *wire.BasicProperties) (*specialHeaders, error) {
	s := &specialHeaders{headers: message.Headers{}, original: message.Headers{}}
	for name, v := range p.Headers.All() {
		if name == headerCopies || name == headerBlindCopies {
			if err := in.copy(name, v); err != nil {
				return nil, err
			}
			if name == headerBlindCopies {
				s.blind = v
				continue // nobody is to see it
			}
		}
		if isStamp(name) {
			in.losses.add(LossForgedStamp)
			continue
		}
		s.original = message.AppendField(s.original, name, v)
		if !isSpecial(name) || !in.take(s, p, name, v) {
			s.headers = message.AppendField(s.headers, name, v)
		}
	}
	if s.types != "" {
		s.headers = s.headers.WithTypes(s.types)
	}
	if s.duplicates.Type != 0 {
		s.headers = withDuplicates(s.headers, s.duplicates)
	}
	return s, nil
}

// Headers that list further routing keys (https://www.rabbitmq.com/docs/sender-selected).
const (
	headerCopies      = "CC"
	headerBlindCopies = "BCC"
)

// copy keeps the routing keys of one of those headers; what is no text is not looked at, as in RabbitMQ.
func (in *ingress) copy(name string, v message.Value) error {
	if v.Type != message.TypeArray {
		return failure(wire.PreconditionFailed, "invalid message: {unacceptable_type_in_header,%q,%s}", name, v.TypeName())
	}
	for element := range v.Array() {
		if key, ok := element.String(); ok {
			in.also = append(in.also, strings.Clone(key))
		}
	}
	return nil
}

// take reads one special header and reports whether it is used up; a value of the wrong type leaves it an ordinary
// header.
func (in *ingress) take(s *specialHeaders, p *wire.BasicProperties, name string, v message.Value) bool {
	text, isText := v.String()
	number, isNumber := v.Int()
	switch name {
	case message.TypesHeader:
		s.types = text
		return isText
	case headerDuplicates:
		if v.Type == message.TypeArray {
			s.duplicates = v
			return true
		}
	case headerCorrelationID:
		if raw, ok := v.Bytes(); ok && p.Flags&wire.FlagCorrelationID == 0 {
			s.correlation = append([]byte{}, raw...)
			return true
		}
	case headerReplyOriginal:
		s.replyOriginal = text
		return isText && text != ""
	case headerRetain:
		retain, ok := v.Bool()
		s.retain = ok && retain
		return s.retain
	case headerQoS:
		s.exactlyOnce = isNumber && number == 2 && p.Flags&wire.FlagDeliveryMode != 0 && p.DeliveryMode == persistent
		return s.exactlyOnce
	case headerTextFlag:
		if isNumber && (number == 0 || number == 1) {
			s.hasTextFlag, s.textFlag = true, number
			return true
		}
	case headerTopic:
		// Used up only by the key it stands for; see setFields.
		if key := swap(text); isText && len(key) > maxShortString {
			s.topic = key
			return true
		}
	}
	for i := range textProperties {
		if t := &textProperties[i]; t.header == name && isText && t.property != message.UserID && p.Flags&t.flag == 0 {
			s.texts[i] = text
			return true
		}
	}
	return false
}

// appendProperties appends the properties that came as headers.
func (s *specialHeaders) appendProperties(head message.Head) message.Head {
	if s.hasTextFlag {
		head = message.AppendInt(head, message.TextFlag, s.textFlag)
	}
	if s.replyOriginal != "" {
		head = message.AppendString(head, message.ReplyOriginal, s.replyOriginal)
	}
	for element := range s.blind.Array() {
		if key, ok := element.String(); ok {
			head = message.AppendString(head, message.BlindKey, key)
		}
	}
	return message.AppendBytes(head, message.OriginalTable, s.original)
}

// isStamp reports whether a header is the gateway's alone to set.
func isStamp(name string) bool {
	return name == headerClientID || name == headerProtocol || name == headerHops
}

// withDuplicates puts back the list of headers that a table could not hold. The list is used only where the table
// still says what it said when the list was written: the last of each name has the value in the table.
func withDuplicates(h message.Headers, list message.Value) message.Headers {
	last := map[string]message.Value{}
	var restored message.Headers
	for element := range list.Array() {
		fields, ok := element.Table()
		if !ok {
			return h
		}
		for name, v := range fields.All() {
			last[name] = v
			restored = message.AppendField(restored, name, v)
		}
	}
	for name, v := range last {
		have, ok := h.Get(name)
		if !ok || have.Type != v.Type || string(have.Raw) != string(v.Raw) {
			return h
		}
	}
	for name, v := range h.All() {
		if _, listed := last[name]; !listed {
			restored = message.AppendField(restored, name, v)
		}
	}
	return restored
}
