package message

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// The form of a message as JSON is for people and other programs, and nothing is lost in it: what has no text, or would
// come back as other bytes, is base64. Text beside it that is not needed to read it back (the name of a property) is not read.

type jsonMessage struct {
	Exchange      string         `json:"exchange"`
	ExchangeBytes []byte         `json:"exchange-bytes,omitempty"`
	Key           string         `json:"key"`
	KeyBytes      []byte         `json:"key-bytes,omitempty"`
	Time          int64          `json:"time"`              // Unix milliseconds
	Expires       int64          `json:"expires,omitempty"` // Unix milliseconds
	Priority      uint8          `json:"priority"`
	Guarantee     Guarantee      `json:"guarantee"`
	Retain        bool           `json:"retain,omitempty"`
	Properties    []jsonProperty `json:"properties,omitempty"`
	Headers       *[]jsonHeader  `json:"headers,omitempty"`
	Head          []byte         `json:"head,omitempty"` // instead of Properties and Headers
	Size          int            `json:"size"`
	Body          []byte         `json:"body"`
}

type jsonProperty struct {
	Tag   Property `json:"tag"`
	Name  string   `json:"name,omitempty"`
	Text  *string  `json:"text,omitempty"`
	Int   *int64   `json:"int,omitempty"`
	Bytes []byte   `json:"bytes,omitempty"`
}

type jsonHeader struct {
	Name      string  `json:"name"`
	NameBytes []byte  `json:"name-bytes,omitempty"`
	Type      string  `json:"type"`
	Text      *string `json:"text,omitempty"`
	Bytes     []byte  `json:"bytes,omitempty"`
}

// propertyKind says how the value of a property is written.
type propertyKind uint8

const (
	kindBytes propertyKind = iota
	kindText
	kindInt
)

// describe returns the name and the kind of a property.
func (p Property) describe() (string, propertyKind) {
	switch p {
	case ContentType:
		return "content-type", kindText
	case ContentEncoding:
		return "content-encoding", kindText
	case CorrelationID:
		return "correlation-id", kindText
	case ReplyTo:
		return "reply-to", kindText
	case MessageID:
		return "message-id", kindText
	case Type:
		return "type", kindText
	case AppID:
		return "app-id", kindText
	case UserID:
		return "user-id", kindText
	case Timestamp:
		return "timestamp", kindInt
	case Expiration:
		return "expiration", kindText
	case ClusterID:
		return "cluster-id", kindText
	case TextFlag:
		return "text-flag", kindInt
	case Protocol:
		return "protocol", kindText
	case ClientID:
		return "client-id", kindText
	case ReplyExchange:
		return "reply-exchange", kindText
	case ReplyKey:
		return "reply-key", kindText
	case DeliveryMode:
		return "delivery-mode", kindInt
	case PriorityOctet:
		return "priority", kindInt
	case ReplyOriginal:
		return "reply-original", kindText
	case Lifetime:
		return "lifetime", kindInt
	}
	return "", kindBytes
}

// MarshalJSON implements json.Marshaler. Origin is not part of it.
func (m *Message) MarshalJSON() ([]byte, error) {
	j := jsonMessage{Time: m.Time, Expires: m.Expires, Priority: m.Priority, Guarantee: m.Guarantee, Retain: m.Retain,
		Size: len(m.Body), Body: m.Body}
	j.Exchange, j.ExchangeBytes = jsonText(m.Exchange)
	j.Key, j.KeyBytes = jsonText(m.Key)
	if j.Body == nil {
		j.Body = []byte{}
	}
	j.describe(m.Head)
	if again, err := j.head(); err != nil || !bytes.Equal(again, m.Head) {
		j.Properties, j.Headers, j.Head = nil, nil, m.Head // written in another way than ours, or damaged
	}
	return json.Marshal(&j)
}

// UnmarshalJSON implements json.Unmarshaler. The message has memory of its own.
func (m *Message) UnmarshalJSON(src []byte) error {
	var j jsonMessage
	if err := json.Unmarshal(src, &j); err != nil {
		return err
	}
	head, err := j.head()
	switch {
	case err != nil:
		return err
	case len(j.Body) != j.Size:
		return fmt.Errorf("message: a body of %d bytes where the size says %d", len(j.Body), j.Size)
	case j.Guarantee > ExactlyOnce:
		return fmt.Errorf("message: there is no guarantee %d", j.Guarantee)
	}
	*m = Message{Exchange: fromJSONText(j.Exchange, j.ExchangeBytes), Key: fromJSONText(j.Key, j.KeyBytes), Head: head, Body: j.Body,
		Time: j.Time, Expires: j.Expires, Priority: j.Priority, Guarantee: j.Guarantee, Retain: j.Retain}
	return nil
}

// jsonText is text as JSON can hold it, or its bytes.
func jsonText(text string) (string, []byte) {
	if utf8.ValidString(text) {
		return text, nil
	}
	return "", []byte(text)
}

func fromJSONText(text string, raw []byte) string {
	if raw != nil {
		return string(raw)
	}
	return text
}

// describe fills in Properties and Headers.
func (j *jsonMessage) describe(h Head) {
	for p, v := range h.All() {
		name, kind := p.describe()
		property := jsonProperty{Tag: p, Name: name}
		switch {
		case kind == kindText && utf8.Valid(v):
			text := string(v)
			property.Text = &text
		case kind == kindInt && len(v) == 8:
			n := int64(binary.BigEndian.Uint64(v))
			property.Int = &n
		default:
			property.Bytes = v
		}
		j.Properties = append(j.Properties, property)
	}
	if len(h.Properties()) == len(h) {
		return
	}
	headers := []jsonHeader{}
	for name, v := range h.Headers().All() {
		header := jsonHeader{Type: string(rune(v.Type))}
		header.Name, header.NameBytes = jsonText(name)
		text := v.Text()
		if again, ok := ParseText(v.Type, text); ok && utf8.ValidString(text) && again.Type == v.Type && bytes.Equal(again.Raw, v.Raw) {
			header.Text = &text
		} else {
			header.Bytes = v.Raw
		}
		headers = append(headers, header)
	}
	j.Headers = &headers
}

// head builds the property block again.
func (j *jsonMessage) head() (Head, error) {
	if j.Head != nil {
		return j.Head, Head(j.Head).Validate()
	}
	var h Head
	for _, p := range j.Properties {
		switch {
		case p.Text != nil:
			h = AppendString(h, p.Tag, *p.Text)
		case p.Int != nil:
			h = AppendInt(h, p.Tag, *p.Int)
		default:
			h = AppendBytes(h, p.Tag, p.Bytes)
		}
		if p.Tag == 0 || p.Tag == headersTag {
			return nil, fmt.Errorf("message: there is no property %d", p.Tag)
		}
	}
	if j.Headers == nil {
		return h, nil
	}
	h = BeginHeaders(h)
	for _, header := range *j.Headers {
		name := fromJSONText(header.Name, header.NameBytes)
		if len(header.Type) != 1 {
			return nil, fmt.Errorf("message: header %q: there is no type %q", name, header.Type)
		}
		v := Value{Type: header.Type[0], Raw: header.Bytes}
		if header.Text != nil {
			parsed, ok := ParseText(v.Type, *header.Text)
			if !ok {
				return nil, fmt.Errorf("message: header %q: %q is not of type %q", name, *header.Text, header.Type)
			}
			v = parsed
		}
		h = AppendField(h, name, v)
	}
	return h, h.Validate()
}
