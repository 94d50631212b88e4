package amqp

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"unsafe"

	"tridge/adapters/amqp/wire"
	"tridge/core/message"
)

// maxShortString is what a short string can hold, in bytes (0-9-1 §4.2.5.3).
const maxShortString = 255

// Headers the gateway gives a meaning. Those that begin with x-gw- belong to it.
const (
	headerGateway       = "x-gw-"
	headerClientID      = "x-gw-client-id"
	headerProtocol      = "x-gw-protocol"
	headerHops          = "x-gw-hops"
	headerDuplicates    = "x-gw-duplicates"
	headerCorrelationID = "x-gw-correlation-id"
	headerMQTT          = "x-mqtt-"
	headerRetain        = "x-mqtt-retain"
	headerQoS           = "x-mqtt-qos"
	headerTextFlag      = "x-mqtt-payload-format"
	headerTopic         = "x-mqtt-topic"
	headerReplyOriginal = "x-reply-to-topic"
)

// binaryPrefix begins a correlation id that stands for bytes which are not text.
const binaryPrefix = "b64:"

// correlationText is a property of our own: the correlation id as the client wrote it, where message.CorrelationID is
// the bytes that it stands for.
const correlationText = message.PrivateAMQP

// Replies names reply addresses of other protocols in a way an AMQP client can carry in reply-to.
type Replies interface {
	Token(exchange, key string) (string, bool)
	Resolve(token string) (exchange, key string, ok bool)
}

// textProperty is a basic property that is plain text: when another protocol made it longer than a short string it
// travels in the header x-gw-<name> and comes back from there.
type textProperty struct {
	property message.Property
	flag     uint16
	header   string
}

var textProperties = [...]textProperty{
	{message.ContentType, wire.FlagContentType, "x-gw-content-type"},
	{message.ContentEncoding, wire.FlagContentEncoding, "x-gw-content-encoding"},
	{message.MessageID, wire.FlagMessageID, "x-gw-message-id"},
	{message.Type, wire.FlagType, "x-gw-type"},
	{message.AppID, wire.FlagAppID, "x-gw-app-id"},
	{message.UserID, wire.FlagUserID, "x-gw-user-id"},
}

// in is where p keeps the property.
func (t *textProperty) in(p *wire.BasicProperties) *string {
	switch t.flag {
	case wire.FlagContentType:
		return &p.ContentType
	case wire.FlagContentEncoding:
		return &p.ContentEncoding
	case wire.FlagMessageID:
		return &p.MessageID
	case wire.FlagType:
		return &p.Type
	case wire.FlagAppID:
		return &p.AppID
	}
	return &p.UserID
}

// swap turns a routing key into the MQTT topic it stands for and back: the separators and the one-word wildcards
// change places, every other byte stays.
func swap(text string) string {
	swapped := []byte(text)
	for i, c := range swapped {
		switch c {
		case '.':
			swapped[i] = '/'
		case '/':
			swapped[i] = '.'
		case '*':
			swapped[i] = '+'
		case '+':
			swapped[i] = '*'
		}
	}
	return string(swapped)
}

const keptOfLongKey = 232

// shortKey is what stands for a routing key that a short string cannot hold: its beginning and a hash of all of it.
func shortKey(key string) string {
	if len(key) <= maxShortString {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	hash := base64.RawURLEncoding.EncodeToString(sum[:])[:maxShortString-keptOfLongKey-1]
	return key[:keptOfLongKey] + "~" + hash
}

// alias is a string over b's bytes, valid while they are.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// integer is the value of an integer property of a message.
func integer(v []byte) int64 {
	if len(v) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(v))
}
