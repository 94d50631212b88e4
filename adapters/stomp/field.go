package stomp

import (
	"encoding/binary"
	"strings"

	"tridge/adapters/stomp/wire"
	"tridge/core/message"
	"tridge/core/router"
)

// field is a header of SEND that stands for something other than itself. The zero field is an ordinary header.
type field uint8

const (
	ordinary field = iota
	fieldContentType
	fieldContentEncoding
	fieldCorrelationID
	fieldReplyTo
	fieldReplyOriginal
	fieldMessageID
	fieldType
	fieldAppID
	fieldUserID
	fieldTimestamp
	fieldPriority
	fieldPersistent
	fieldExpiration
	fieldExpires
	fieldQoS
	fieldRetain
	fieldPayloadFormat
	fieldTypes
	fieldStamp          // the gateway's to say (decision 25)
	fieldControl        // of the SEND frame and not of its message
	fieldReserved       // of the MESSAGE frame: a publisher's header of that name cannot be delivered
	fieldDelay          // a header like any other, that also says when the message is to be routed
	fieldSchedule       // ActiveMQ's word for what cannot be had here: more than a delay
	fieldTransformation // ActiveMQ's wish for another body; a header like any other when it wishes for none
)

// The headers that are written in more than one place.
const (
	headerDestination   = "destination"
	headerSubscription  = "subscription"
	headerMessageID     = "message-id"
	headerReceipt       = "receipt"
	headerReceiptID     = "receipt-id"
	headerTransaction   = "transaction"
	headerAMQPMessageID = "amqp-message-id"
	headerReplyOriginal = "x-reply-to-topic"
	headerClientID      = "x-gw-client-id"
	headerProtocol      = "x-gw-protocol"

	headerScheduledDelay = "AMQ_SCHEDULED_DELAY" // ActiveMQ's
)

// fieldOf returns what a header of that name stands for. conversions.md, section 2.
func fieldOf(name string) field {
	switch name {
	case "content-type":
		return fieldContentType
	case "content-encoding":
		return fieldContentEncoding
	case "correlation-id":
		return fieldCorrelationID
	case "reply-to":
		return fieldReplyTo
	case headerReplyOriginal:
		return fieldReplyOriginal
	case headerAMQPMessageID, headerMessageID:
		return fieldMessageID
	case "type":
		return fieldType
	case "app-id":
		return fieldAppID
	case "user-id":
		return fieldUserID
	case "timestamp":
		return fieldTimestamp
	case "priority":
		return fieldPriority
	case "persistent":
		return fieldPersistent
	case "expiration":
		return fieldExpiration
	case "expires":
		return fieldExpires
	case "x-mqtt-qos":
		return fieldQoS
	case "x-mqtt-retain":
		return fieldRetain
	case "x-mqtt-payload-format":
		return fieldPayloadFormat
	case message.TypesHeader:
		return fieldTypes
	case headerClientID, headerProtocol, "x-gw-hops":
		return fieldStamp
	case headerDestination, headerReceipt, headerTransaction, "content-length":
		return fieldControl
	case headerSubscription, "ack", "redelivered":
		return fieldReserved
	case headerScheduledDelay, router.DelayHeader:
		return fieldDelay
	case "AMQ_SCHEDULED_PERIOD", "AMQ_SCHEDULED_REPEAT", "AMQ_SCHEDULED_CRON":
		return fieldSchedule
	case "transformation":
		return fieldTransformation
	}
	return ordinary
}

// deliverable reports whether a header of the message's list may stand in a MESSAGE frame. message-id is a property
// on the way in and the frame's own on the way out.
func deliverable(name string) bool {
	switch fieldOf(name) {
	case fieldStamp, fieldControl, fieldReserved:
		return false
	}
	return name != headerMessageID
}

// property reports whether f is carried in another place than the header list.
func (f field) property() bool { return f != ordinary && f < fieldStamp }

// typesHint is the hint that goes with a header list: the types that are not text, and the text headers whose names
// would else be read as properties on the way back.
func typesHint(list message.Headers) string {
	hint := list.Types()
	for name, v := range list.All() {
		if v.Type != message.TypeString || !fieldOf(name).property() {
			continue
		}
		if hint != "" {
			hint += ","
		}
		hint += name + "=" + string(rune(message.TypeString))
	}
	return hint
}

// isProperty tells a property from a header of the same name: a name that the hint accounts for as often as it occurs
// is an ordinary header every time.
func isProperty(name, hint string, headers []wire.Header) bool {
	if hint == "" {
		return true
	}
	hinted, occurrences := 0, 0
	for item := range strings.SplitSeq(hint, ",") {
		if n, _, ok := strings.Cut(item, "="); ok && n == name {
			hinted++
		}
	}
	for i := range headers {
		if headers[i].Name == name {
			occurrences++
		}
	}
	return occurrences > hinted
}

// restoreTypes gives headers the types of a hint. They stay text when a value would not come out as the text it was:
// then the hint is not one of ours.
func restoreTypes(headers message.Headers, hint string) message.Headers {
	typed := headers.WithTypes(hint)
	var texts []string
	for _, v := range headers.All() {
		text, _ := v.String()
		texts = append(texts, text)
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

// originals is a property of this adapter that nobody else reads: the headers of SEND that became properties, as they
// were written and with their places among the others, so that STOMP to STOMP is the same byte for byte. It is a
// list of index, name and value; index counts the headers before it that go out again.
const originals = message.PrivateSTOMP

func appendOriginal(dst []byte, index int, name, value string) []byte {
	dst = binary.AppendUvarint(dst, uint64(index))
	dst = binary.AppendUvarint(dst, uint64(len(name)))
	dst = append(dst, name...)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// original is one element of originals; its strings alias the list.
type original struct {
	index       int
	name, value string
	rest        message.Head // the elements behind it
}

// nextOriginal reads the first element of list; index is -1 when there is none.
func nextOriginal(list message.Head) original {
	none := original{index: -1}
	index, used := binary.Uvarint(list)
	if used <= 0 {
		return none
	}
	name, rest, ok := cutText(list[used:])
	if !ok {
		return none
	}
	value, rest, ok := cutText(rest)
	if !ok {
		return none
	}
	return original{int(index), name, value, rest}
}

// cutText reads a length and that many bytes, without copying them.
func cutText(list message.Head) (text string, rest message.Head, ok bool) {
	n, used := binary.Uvarint(list)
	if used <= 0 || n > uint64(len(list)-used) {
		return "", nil, false
	}
	end := used + int(n)
	return alias(list[used:end]), list[end:], true
}
