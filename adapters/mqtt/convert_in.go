package mqtt

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"strings"

	"tridge/core/message"
	"tridge/core/router"
)

// The user properties that carry properties MQTT has no field for, and the stamps.
const (
	propertyContentEncoding = "content-encoding"
	propertyMessageID       = "message-id"
	propertyType            = "type"
	propertyAppID           = "app-id"
	propertyPriority        = "priority"
	propertyTimestamp       = "timestamp"
	propertyUserID          = "user-id"
	propertyReplyToTopic    = "x-reply-to-topic"
	stampClientID           = "x-gw-client-id"
	stampProtocol           = "x-gw-protocol"
	stampHops               = "x-gw-hops"
)

// lifted holds the user properties that became properties of the message, with their places among the others, so
// that MQTT to MQTT is byte for byte the same: index, name and value of each, every one preceded by its length.
// The tag is private to this adapter: nobody else reads it.
const lifted = message.PrivateMQTT

// ingress turns PUBLISH packets into messages. It belongs to the reader goroutine of one session.
type ingress struct {
	clientID string
	user     string
	replies  Replies // may be nil
	losses   *Losses

	delay int64 // milliseconds until the message built last is to be routed, 0 for at once

	// scratch
	head   message.Head
	users  message.Headers
	places []byte
	keys   map[string]string // topic to routing key
}

// keyCacheSize bounds the routing keys an ingress remembers: publishers repeat their topics, and a remembered key
// costs no allocation.
const keyCacheSize = 64

// key returns the routing key of a topic.
func (in *ingress) key(topic string) string {
	if key, ok := in.keys[topic]; ok {
		return key
	}
	key := swap(topic)
	if in.keys == nil || len(in.keys) >= keyCacheSize {
		in.keys = make(map[string]string)
	}
	in.keys[strings.Clone(topic)] = key
	return key
}

// message builds the neutral message of p, to be published at exchange and key. now is Unix milliseconds. Nothing of
// the result aliases p unless p's bytes are private. It costs two allocations: the message and its bytes.
func (in *ingress) message(p *publishPacket, exchange, key string, now int64) *message.Message {
	m := &message.Message{
		Exchange:  exchange,
		Key:       key,
		Time:      now,
		Guarantee: message.Guarantee(p.qos),
		Retain:    p.retain,
	}
	if p.hasExpiry {
		m.Expires = now + int64(p.expiry)*1000
	}
	in.delay = 0
	head := in.properties(m, p)
	if p.private {
		m.Head, m.Body = append(message.Head(nil), head...), p.payload
		return m
	}
	whole := make([]byte, len(head)+len(p.payload))
	n := copy(whole, head)
	copy(whole[n:], p.payload)
	m.Head, m.Body = message.Head(whole[:n:n]), whole[n:]
	return m
}

// keptScratch is how many bytes of each scratch space an idle connection keeps.
const keptScratch = 1 << 10

// release gives large scratch space back.
func (in *ingress) release() {
	if cap(in.head) > keptScratch {
		in.head = nil
	}
	if cap(in.users) > keptScratch {
		in.users = nil
	}
	if cap(in.places) > keptScratch {
		in.places = nil
	}
}

// properties builds the property block in scratch space.
func (in *ingress) properties(m *message.Message, p *publishPacket) message.Head {
	head := in.head[:0]
	head = message.AppendString(head, message.Protocol, message.ProtocolMQTT)
	head = message.AppendString(head, message.ClientID, in.clientID)
	if p.hasContentType {
		head = message.AppendString(head, message.ContentType, p.contentType)
	}
	if p.hasFormat {
		head = message.AppendInt(head, message.TextFlag, int64(p.format))
	}
	if p.hasCorrelation {
		head = message.AppendBytes(head, message.CorrelationID, p.correlation)
	}
	if p.responseTopic != "" {
		head = in.reply(head, p.responseTopic)
	}
	if len(p.userProperties) > 0 {
		head = in.userProperties(head, m, p.userProperties)
	}
	in.head = head
	return head
}

// reply appends a response topic: as the client wrote it, and as the address that a reply is routed to.
func (in *ingress) reply(head message.Head, topic string) message.Head {
	head = message.AppendString(head, message.ReplyTo, topic)
	if token, ok := strings.CutPrefix(topic, replyPrefix); ok {
		if in.replies == nil {
			return head
		}
		if exchange, key, known := in.replies.Resolve(token); known {
			head = message.AppendString(head, message.ReplyExchange, exchange)
			head = message.AppendString(head, message.ReplyKey, key)
		}
		return head
	}
	head = message.AppendString(head, message.ReplyExchange, router.TopicExchange)
	head = append(head, byte(message.ReplyKey))
	head = binary.AppendUvarint(head, uint64(len(topic)))
	return appendSwapped(head, topic)
}

// userProperties appends what the user properties say: those that stand for properties as such, the types hint
// applied, forged stamps dropped, all others as headers in order.
func (in *ingress) userProperties(head message.Head, m *message.Message, list []userProperty) message.Head {
	hint := typesHint(list)
	headers, places := in.users[:0], in.places[:0]
	// Bit set of names whose next user property stands for a property; user properties that go out again.
	properties, kept := namedProperties(list, hint), 0
	for i := range list {
		u := &list[i]
		switch {
		case u.Key == stampClientID || u.Key == stampProtocol || u.Key == stampHops: // ours to say (decision 25)
			in.losses.add(LossForgedStamp)
			continue
		case u.Key == message.TypesHeader && u.Val == hint:
			places = appendPlace(places, kept, u)
		default:
			if bit := liftBit(u.Key); properties&bit != 0 {
				if grown, ok := in.lift(head, m, u); ok {
					head, properties = grown, properties&^bit
					places = appendPlace(places, kept, u)
					break
				}
			}
			if u.Key == router.DelayHeader { // it stays; what is no number is no delay
				delay, _ := router.DelayOf(u.Val)
				in.delay = max(in.delay, delay)
			}
			headers = message.AppendStringField(headers, u.Key, u.Val)
		}
		kept++
	}
	if len(places) > 0 {
		head = message.AppendBytes(head, lifted, places)
	}
	in.users, in.places = headers[:0], places[:0]
	if hint != "" {
		headers = restoreTypes(headers, hint)
	}
	return message.AppendHeaders(head, headers)
}

// appendPlace remembers a user property that is no header of the message, and that index others go before it.
func appendPlace(dst []byte, index int, u *userProperty) []byte {
	dst = binary.AppendUvarint(dst, uint64(index))
	dst = appendText(dst, u.Key)
	return appendText(dst, u.Val)
}

// nextPlace reads what appendPlace wrote. index is -1 at the end.
func nextPlace(places []byte) (index int, name, value string, rest []byte) {
	n, used := binary.Uvarint(places)
	if used <= 0 {
		return -1, "", "", nil
	}
	s := shape{rest: places[used:]}
	name, value = string(s.binary()), string(s.binary())
	if s.err != nil {
		return -1, "", "", nil
	}
	return int(n), name, value, s.rest
}

// lift appends the property that a user property stands for; not ok when its text cannot be one.
func (in *ingress) lift(head message.Head, m *message.Message, u *userProperty) (message.Head, bool) {
	switch u.Key {
	case propertyContentEncoding:
		return message.AppendString(head, message.ContentEncoding, u.Val), true
	case propertyMessageID:
		return message.AppendString(head, message.MessageID, u.Val), true
	case propertyType:
		return message.AppendString(head, message.Type, u.Val), true
	case propertyAppID:
		return message.AppendString(head, message.AppID, u.Val), true
	case propertyReplyToTopic:
		return message.AppendString(head, message.ReplyOriginal, u.Val), true
	case propertyPriority:
		n, err := strconv.ParseUint(u.Val, 10, 8)
		if err != nil {
			return head, false
		}
		m.Priority = uint8(n)
		return message.AppendInt(head, message.PriorityOctet, int64(n)), true
	case propertyTimestamp:
		n, err := strconv.ParseInt(u.Val, 10, 64)
		if err != nil {
			return head, false
		}
		return message.AppendInt(head, message.Timestamp, n), true
	case propertyUserID: // a client may name only itself
		if u.Val != in.user {
			return head, false
		}
		return message.AppendString(head, message.UserID, u.Val), true
	}
	return head, false
}

// typesHint returns the x-gw-types of a list.
func typesHint(list []userProperty) string {
	for i := range list {
		if list[i].Key == message.TypesHeader {
			return list[i].Val
		}
	}
	return ""
}

// namedProperties returns the bits of the names whose first user property is the property and not a header of the same
// name: convert_out names every such header in the types hint, so the first of a name stands for the property unless
// the hint accounts for all of them. It looks at every user property once.
func namedProperties(list []userProperty, hint string) (named int) {
	if hint == "" {
		return liftAll
	}
	var surplus [liftNames]int // user properties of a name, less those the hint accounts for
	for item := range strings.SplitSeq(hint, ",") {
		if name, _, ok := strings.Cut(item, "="); ok {
			if bit := liftBit(name); bit != 0 {
				surplus[bits.TrailingZeros(uint(bit))]--
			}
		}
	}
	for i := range list {
		if bit := liftBit(list[i].Key); bit != 0 {
			surplus[bits.TrailingZeros(uint(bit))]++
		}
	}
	for i, n := range surplus {
		if n > 0 {
			named |= 1 << i
		}
	}
	return named
}

const (
	liftNames = 8 // that liftBit knows
	liftAll   = 1<<liftNames - 1
)

// liftBit is a bit of its own for every name that stands for a property of the message, 0 for others.
func liftBit(name string) int {
	switch name {
	case propertyContentEncoding:
		return 1 << 0
	case propertyMessageID:
		return 1 << 1
	case propertyType:
		return 1 << 2
	case propertyAppID:
		return 1 << 3
	case propertyPriority:
		return 1 << 4
	case propertyTimestamp:
		return 1 << 5
	case propertyUserID:
		return 1 << 6
	case propertyReplyToTopic:
		return 1 << 7
	}
	return 0
}

// restoreTypes gives headers the types of a hint. They stay text when a value would not come out as the text it was:
// then the hint is not one of ours.
func restoreTypes(headers message.Headers, hint string) message.Headers {
	typed := headers.WithTypes(hint)
	texts := make([]string, 0, 16)
	for _, v := range headers.All() {
		texts = append(texts, v.Text())
	}
	i := 0
	for _, v := range typed.All() {
		if v.Text() != texts[i] {
			return headers
		}
		i++
	}
	return typed
}
