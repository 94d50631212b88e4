package mqtt

import (
	"bytes"
	"strings"
	"time"
)

// packetType is the type of a control packet (section 2.1.2).
type packetType byte

const (
	typeConnect     packetType = 1
	typeConnack     packetType = 2
	typePublish     packetType = 3
	typePuback      packetType = 4
	typePubrec      packetType = 5
	typePubrel      packetType = 6
	typePubcomp     packetType = 7
	typeSubscribe   packetType = 8
	typeSuback      packetType = 9
	typeUnsubscribe packetType = 10
	typeUnsuback    packetType = 11
	typePingreq     packetType = 12
	typePingresp    packetType = 13
	typeDisconnect  packetType = 14
	typeAuth        packetType = 15
)

// The protocol levels of CONNECT.
const (
	version31  = 3
	version311 = 4
	version5   = 5
)

// The levels of quality of service.
const (
	qos0 = 0
	qos1 = 1
	qos2 = 2
)

// never is a session expiry interval that means "does not expire" [5.0, 3.1.2.11.2].
const never = 0xFFFFFFFF

// connectPacket is a CONNECT. It owns its bytes: it outlives the read buffer.
type connectPacket struct {
	version      byte
	cleanStart   bool
	keepAlive    time.Duration
	clientID     string
	named        bool // a user name was given
	user         string
	password     []byte
	will         *willPacket
	authMethod   string
	authData     []byte
	problemInfo  bool   // the client wants reason strings
	expiry       uint32 // seconds; never for a 3.1.1 session that is not clean
	receiveLimit int    // how many QoS 1 and 2 PUBLISH packets the client takes at once
	aliasLimit   int    // topic aliases the client takes
	responseInfo bool   // the client wants response information
	packetLimit  int    // bytes of the largest packet the client takes; 0 is no limit
}

// willPacket is the will of a CONNECT. publish aliases nothing.
type willPacket struct {
	publish publishPacket
	delay   uint32 // seconds
}

// publishPacket is a PUBLISH from a client. Its strings and bytes are valid until the next packet is read.
type publishPacket struct {
	topic   string
	id      uint16
	qos     byte
	retain  bool
	dup     bool
	payload []byte

	alias          uint16
	hasAlias       bool
	hasFormat      bool
	format         byte
	hasExpiry      bool
	expiry         uint32 // seconds; 0 is "at once"
	hasContentType bool
	contentType    string
	responseTopic  string
	hasCorrelation bool
	correlation    []byte
	userProperties []userProperty
	private        bool // the bytes are valid for ever: they may be kept without a copy
}

// own copies what p aliases.
func (p *publishPacket) own() {
	p.topic = strings.Clone(p.topic)
	p.payload = bytes.Clone(p.payload)
	p.contentType = strings.Clone(p.contentType)
	p.responseTopic = strings.Clone(p.responseTopic)
	p.correlation = bytes.Clone(p.correlation)
	users := make([]userProperty, len(p.userProperties))
	for i, u := range p.userProperties {
		users[i] = userProperty{Key: strings.Clone(u.Key), Val: strings.Clone(u.Val)}
	}
	p.userProperties = users
	p.private = true
}

// subscribePacket is a SUBSCRIBE. Filters are copies.
type subscribePacket struct {
	id         uint16
	identifier uint32 // subscription identifier; 0 is none
	requests   []filterRequest
}

// filterRequest is one filter of a SUBSCRIBE with its options [5.0, 3.8.3.1].
type filterRequest struct {
	filter            string
	qos               byte
	noLocal           bool
	retainAsPublished bool
	retainHandling    byte
}

// ackPacket is a PUBACK, PUBREC, PUBREL or PUBCOMP.
type ackPacket struct {
	id     uint16
	reason Reason
}

// disconnectPacket is a DISCONNECT from a client.
type disconnectPacket struct {
	reason    Reason
	hasExpiry bool
	expiry    uint32 // seconds
}
