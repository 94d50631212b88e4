package selector

import (
	"strings"
	"unicode/utf8"

	"tridge/core/message"
)

// source says where the value of an identifier is found.
type source uint8

const (
	header source = iota // among the headers, and nowhere else
	deliveryMode
	jmsPriority
	jmsTimestamp
	jmsExpiration
	jmsMessageID
	jmsCorrelationID
	jmsType
	jmsReplyTo
	jmsUserID

	// What STOMP, AMQP or MQTT call it: a header of that name comes first.
	contentType
	contentEncoding
	correlationID
	replyTo
	messageID
	typeName
	appID
	userID
	timestamp
	priority
	persistent
	amqpMode
	expires
)

// sourceOf returns what an identifier stands for. JMS 2.0, section 3.8.1.1: of the JMS headers those that are fixed once
// a message is sent. Names of protocols with hyphens can be had with underscores, or in double quotes.
func sourceOf(name string) source {
	switch name {
	case "JMSDeliveryMode":
		return deliveryMode
	case "JMSPriority":
		return jmsPriority
	case "JMSTimestamp":
		return jmsTimestamp
	case "JMSExpiration":
		return jmsExpiration
	case "JMSMessageID":
		return jmsMessageID
	case "JMSCorrelationID":
		return jmsCorrelationID
	case "JMSType":
		return jmsType
	case "JMSReplyTo":
		return jmsReplyTo
	case "JMSXUserID":
		return jmsUserID
	}
	switch strings.ReplaceAll(name, "-", "_") {
	case "content_type":
		return contentType
	case "content_encoding":
		return contentEncoding
	case "correlation_id":
		return correlationID
	case "reply_to":
		return replyTo
	case "message_id", "amqp_message_id":
		return messageID
	case "type":
		return typeName
	case "app_id":
		return appID
	case "user_id":
		return userID
	case "timestamp":
		return timestamp
	case "priority":
		return priority
	case "persistent":
		return persistent
	case "delivery_mode":
		return amqpMode
	case "expires":
		return expires
	}
	return header
}

// texts are the properties that are text.
var texts = [...]message.Property{
	jmsMessageID: message.MessageID, jmsCorrelationID: message.CorrelationID, jmsType: message.Type, jmsReplyTo: message.ReplyTo,
	jmsUserID: message.UserID, contentType: message.ContentType, contentEncoding: message.ContentEncoding,
	correlationID: message.CorrelationID, replyTo: message.ReplyTo, messageID: message.MessageID, typeName: message.Type,
	appID: message.AppID, userID: message.UserID,
}

// defaultPriority is that of a message whose publisher said none. JMS 2.0, section 3.4.10.
const defaultPriority = 4

// of returns the value of an identifier in m, unknown when m has none.
func (s source) of(m *message.Message, name string) value {
	if s == header || s > jmsUserID {
		if v, ok := m.Head.Header(name); ok {
			return valueOf(v)
		}
	}
	switch s {
	case header:
		return value{}
	case deliveryMode:
		if m.Durable() {
			return value{kind: text, s: "PERSISTENT"}
		}
		return value{kind: text, s: "NON_PERSISTENT"}
	case jmsPriority:
		if m.Priority == 0 {
			if _, said := m.Head.Int(message.PriorityOctet); !said {
				return value{kind: integer, i: defaultPriority}
			}
		}
		return value{kind: integer, i: int64(m.Priority)}
	case priority:
		return integerProperty(m, message.PriorityOctet, 1)
	case jmsTimestamp: // milliseconds
		if v := integerProperty(m, message.Timestamp, 1000); v.kind != unknown {
			return v
		}
		return value{kind: integer, i: m.Time}
	case timestamp:
		return integerProperty(m, message.Timestamp, 1)
	case jmsExpiration, expires:
		return value{kind: integer, i: m.Expires}
	case persistent:
		return value{kind: boolean, yes: m.Durable()}
	case amqpMode:
		if m.Durable() {
			return value{kind: integer, i: 2}
		}
		return value{kind: integer, i: 1}
	}
	v, ok := m.Head.String(texts[s])
	if !ok || !utf8.ValidString(v) {
		return value{}
	}
	return value{kind: written, s: v}
}

func integerProperty(m *message.Message, p message.Property, unit int64) value {
	n, ok := m.Head.Int(p)
	if !ok {
		return value{}
	}
	return value{kind: integer, i: n * unit}
}
