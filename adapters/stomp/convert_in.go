package stomp

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"tridge/adapters/stomp/wire"
	"tridge/core/message"
	"tridge/core/router"
)

// Replies makes and reads the tokens that stand for reply addresses of other protocols in one virtual host. core/reply
// implements it.
type Replies interface {
	Token(exchange, key string) (token string, ok bool)
	Resolve(token string) (exchange, key string, ok bool)
}

// binaryPrefix begins the text of a correlation id that is not text.
const binaryPrefix = "b64:"

// ingress turns SEND frames into messages. It belongs to the reader goroutine of one connection.
type ingress struct {
	origin   uint64
	user     string
	clientID string  // "" when the client named none
	replies  Replies // may be nil
	losses   *Losses
	// tempQueue and tempTopic return the name of the queue, or the key of the topic, that a name after /temp-queue/ or
	// /temp-topic/ means on this connection.
	tempQueue, tempTopic func(name string) (string, error)

	delay int64 // milliseconds until the message built last is to be routed, 0 for at once

	// scratch
	head      message.Head
	headers   message.Headers
	originals []byte
}

// message builds the neutral message of a SEND frame. now is Unix milliseconds. Nothing of the result aliases f. It
// costs two allocations: the message and its bytes.
func (in *ingress) message(f *wire.Frame, to destination, now int64) (*message.Message, error) {
	m := &message.Message{Exchange: to.exchange, Key: to.key, Time: now, Origin: in.origin}
	head, err := in.properties(m, f)
	if err != nil {
		return nil, err
	}
	if f.BodyOwned {
		m.Head, m.Body = append(message.Head(nil), head...), f.Body
		return m, nil
	}
	whole := make([]byte, len(head)+len(f.Body))
	n := copy(whole, head)
	copy(whole[n:], f.Body)
	m.Head, m.Body = message.Head(whole[:n:n]), whole[n:]
	return m, nil
}

// properties builds the property block in scratch space. The first header of a name that stands for a property is that
// property, later ones are headers (STOMP 1.2, "Repeated Header Entries").
func (in *ingress) properties(m *message.Message, f *wire.Frame) (message.Head, error) {
	head := message.AppendString(in.head[:0], message.Protocol, message.ProtocolSTOMP)
	if in.clientID != "" {
		head = message.AppendString(head, message.ClientID, in.clientID)
	}
	headers, places := in.headers[:0], in.originals[:0]
	hint, _ := f.Get(message.TypesHeader)
	in.delay = 0
	met, kept := 0, 0 // set of the fields met already; headers that go out again
	for i := range f.Headers {
		h := &f.Headers[i]
		is := fieldOf(h.Name)
		switch is {
		case fieldControl:
			continue
		case fieldStamp:
			in.losses.add(LossForgedStamp)
			continue
		case fieldDelay:
			if err := in.delays(h); err != nil {
				return nil, err
			}
		case fieldSchedule:
			return nil, notSupported("repeated deliveries (" + h.Name + ") are")
		case fieldTransformation:
			if err := transformation(h.Value); err != nil {
				return nil, err
			}
		}
		kept++
		first := is.property() && met&(1<<is) == 0
		met |= 1 << is
		if first && isProperty(h.Name, hint, f.Headers) {
			grown, written, err := in.lift(head, m, is, h.Value)
			if err != nil {
				return nil, err
			}
			if grown != nil {
				head = grown
				name := h.Name
				if is == fieldMessageID {
					name = headerAMQPMessageID // the other name is the frame's own in MESSAGE
				}
				places = appendOriginal(places, kept-1, name, written)
				continue
			}
		}
		headers = message.AppendStringField(headers, h.Name, h.Value)
	}
	if len(places) > 0 {
		head = message.AppendBytes(head, originals, places)
	}
	in.headers, in.originals = headers[:0], places[:0]
	if hint != "" {
		headers = restoreTypes(headers, hint)
	}
	head = message.AppendHeaders(head, headers)
	in.head = head[:0]
	return head, nil
}

// lift appends the property that a header stands for and returns the text by which STOMP subscribers will see it. The
// head is nil when the value does not fit the property: then it is an ordinary header.
func (in *ingress) lift(head message.Head, m *message.Message, is field, value string) (message.Head, string, error) {
	switch is {
	case fieldContentType:
		return message.AppendString(head, message.ContentType, value), value, nil
	case fieldContentEncoding:
		return message.AppendString(head, message.ContentEncoding, value), value, nil
	case fieldMessageID:
		return message.AppendString(head, message.MessageID, value), value, nil
	case fieldType:
		return message.AppendString(head, message.Type, value), value, nil
	case fieldAppID:
		return message.AppendString(head, message.AppID, value), value, nil
	case fieldReplyOriginal:
		return message.AppendString(head, message.ReplyOriginal, value), value, nil
	case fieldTypes:
		return head, value, nil
	case fieldUserID:
		if value != in.user {
			return nil, "", failure("Access refused", "user-id %q is not the user of this connection", value)
		}
		return message.AppendString(head, message.UserID, value), value, nil
	case fieldCorrelationID:
		return appendCorrelation(head, value), value, nil
	case fieldReplyTo:
		return in.reply(head, value)
	case fieldExpiration:
		return appendTimeToLive(head, m, value)
	case fieldExpires:
		return head, value, setDeadline(m, "expires", value, 0)
	}
	return liftNumber(head, m, is, value), value, nil
}

// delays reads when a message is to be routed. Of two headers that say it the longer delay counts; a negative one is none.
func (in *ingress) delays(h *wire.Header) error {
	delay, ok := router.DelayOf(h.Value)
	if !ok || delay > router.MaxDelay {
		return badHeader(wire.Send, h.Name, h.Value, "milliseconds, at most ten years")
	}
	in.delay = max(in.delay, delay)
	return nil
}

// liftNumber is lift for the headers whose values are numbers and truth values.
func liftNumber(head message.Head, m *message.Message, is field, value string) message.Head {
	switch is {
	case fieldTimestamp:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return nil
		}
		if n >= 1e12 { // 13 digits: milliseconds, the habit of Java clients
			n /= 1000
		}
		return message.AppendInt(head, message.Timestamp, n)
	case fieldPriority:
		n, err := strconv.ParseUint(value, 10, 8)
		if err != nil {
			return nil
		}
		m.Priority = uint8(n)
		return message.AppendInt(head, message.PriorityOctet, int64(n))
	case fieldPersistent:
		if durable, ok := parseTruth(value); ok {
			if durable {
				m.Guarantee = max(m.Guarantee, message.AtLeastOnce)
			}
			return head
		}
	case fieldQoS:
		if len(value) == 1 && value[0] >= '0' && value[0] <= '2' {
			m.Guarantee = max(m.Guarantee, message.Guarantee(value[0]-'0'))
			return head
		}
	case fieldRetain:
		switch value {
		case "true":
			m.Retain = true
			return head
		case "false":
			return head
		}
	case fieldPayloadFormat:
		if value == "0" || value == "1" {
			return message.AppendInt(head, message.TextFlag, int64(value[0]-'0'))
		}
	}
	return nil
}

// appendTimeToLive reads expiration: milliseconds to live.
func appendTimeToLive(head message.Head, m *message.Message, value string) (message.Head, string, error) {
	return message.AppendString(head, message.Expiration, value), value, setDeadline(m, "expiration", value, m.Time)
}

// setDeadline reads milliseconds after from. Of two deadlines the earlier counts; one beyond all time is none, and so
// is ActiveMQ's expires:0.
func setDeadline(m *message.Message, name, value string, from int64) error {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return badHeader(wire.Send, name, value, "milliseconds")
	}
	if n > math.MaxInt64-from {
		return nil
	}
	if deadline := from + n; deadline > 0 && (m.Expires == 0 || deadline < m.Expires) {
		m.Expires = deadline
	}
	return nil
}

// appendCorrelation appends a correlation id, which is bytes: what another protocol's bytes were turned into is turned
// back.
func appendCorrelation(head message.Head, value string) message.Head {
	if encoded, found := strings.CutPrefix(value, binaryPrefix); found {
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err == nil && !isText(alias(raw)) {
			return message.AppendBytes(head, message.CorrelationID, raw)
		}
	}
	return message.AppendString(head, message.CorrelationID, value)
}

// reply appends a reply address: as the client wrote it, and as the address that a reply is routed to. A temporary
// queue goes by its real name, because its given one means nothing to others.
func (in *ingress) reply(head message.Head, text string) (message.Head, string, error) {
	d, err := parseDestination(text)
	if err != nil {
		return message.AppendString(head, message.ReplyTo, text), text, nil // no address of ours
	}
	if d.kind == toTempQueue {
		if d.key, err = in.tempQueue(d.key); err != nil {
			return nil, "", err
		}
		text = encodeReply(d.key)
	}
	if d.kind == toTempTopic {
		if d.key, err = in.tempTopic(d.key); err != nil {
			return nil, "", err
		}
		d.exchange, text = router.TopicExchange, topicPrefix+d.key
	}
	if token, found := strings.CutPrefix(d.key, router.ReplyPrefix); found && d.exchange == router.DefaultExchange && in.replies != nil {
		if exchange, key, known := in.replies.Resolve(token); known {
			d.exchange, d.key = exchange, key
		}
	}
	head = message.AppendString(head, message.ReplyTo, text)
	head = message.AppendString(head, message.ReplyExchange, d.exchange)
	return message.AppendString(head, message.ReplyKey, d.key), text, nil
}

// isText reports whether s can stand in a header of every version once escaped.
func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// alias is a string over b's bytes, which must not change while it lives.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
