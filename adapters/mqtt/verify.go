package mqtt

// verify proves the shape of a client's packet within the limits: header is the first byte of it, body what follows the
// remaining length. It returns which properties a PUBLISH has, of a CONNECT those of its will, or what the version's
// specification calls the failure. It takes no memory.
func (l *Limits) verify(version, header byte, body []byte) (propertySet, error) {
	s := shape{rest: body, limits: l}
	err := s.packet(version, header)
	return s.present, err
}

func (s *shape) packet(version, header byte) error {
	t := packetType(header >> 4)
	flags := header & 0x0f
	if version == version31 && t != typePublish {
		flags = header31(header) & 0x0f
	}
	switch t {
	case typePublish:
		return s.publish(version, flags)
	case typePubrel, typeSubscribe, typeUnsubscribe:
		if flags != 0x02 { // [MQTT-2.1.3-1] [MQTT-3.8.1-1]
			return malformed("reserved bits of the fixed header")
		}
	default:
		if flags != 0 {
			return malformed("reserved bits of the fixed header")
		}
	}
	switch t {
	case typeConnect:
		return s.connect()
	case typePuback, typePubrec, typePubrel, typePubcomp:
		return s.ack(version, t)
	case typeSubscribe, typeUnsubscribe:
		return s.filters(version, t)
	case typePingreq:
		return s.end()
	case typeDisconnect:
		return s.disconnect(version)
	case typeAuth:
		if version < version5 {
			return malformed("AUTH is a packet of 5.0")
		}
		return s.auth()
	}
	switch t {
	case typeConnack, typeSuback, typeUnsuback, typePingresp: // nothing is wrong with its form [5.0, 4.13.1]
		return protocolError("packet that only a server sends")
	}
	return malformed("reserved packet type")
}

// header31 is the first byte of a packet of 3.1 as later versions write it: that version allows DUP where an answer is
// awaited, and says of the other bits only that they are not used (3.1, section 2.1).
func header31(header byte) byte {
	switch t := packetType(header >> 4); t {
	case typePublish:
		return header
	case typePubrel, typeSubscribe, typeUnsubscribe:
		return header &^ 0x09
	}
	return header &^ 0x0f
}

// The flags of CONNECT (3.1.2.3).
const (
	connectReserved = 1 << 0
	connectWill     = 1 << 2
	connectWillQoS  = 3 << 3
	connectRetain   = 1 << 5
	connectPassword = 1 << 6
	connectUser     = 1 << 7
)

// connect proves a CONNECT whose protocol name and level are supported; protocolLevel has looked at them before.
func (s *shape) connect() error {
	s.binary()
	version := s.octet()
	flags := s.octet()
	s.uint16()
	switch {
	case s.err != nil:
		return s.err
	case flags&connectReserved != 0 && version != version31: // [MQTT-3.1.2-3]; 3.1 says only that it is not used
		return malformed("reserved flag of CONNECT")
	case flags&connectWill == 0 && flags&(connectWillQoS|connectRetain) != 0: // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
		return malformed("will options without a will")
	case flags&connectWillQoS == connectWillQoS: // [MQTT-3.1.2-12]
		return malformed("will quality of service 3")
	case version < version5 && flags&connectPassword != 0 && flags&connectUser == 0: // 3.1.1 [MQTT-3.1.2-22]
		return malformed("password without a user name")
	}
	if version == version5 {
		s.properties(inConnect)
	}
	s.text()
	if flags&connectWill != 0 {
		if version == version5 {
			s.properties(inWill)
		}
		s.text()
		s.binary()
	}
	if flags&connectUser != 0 {
		s.text()
	}
	if flags&connectPassword != 0 {
		s.binary()
	}
	return s.end()
}

func (s *shape) publish(version, flags byte) error {
	qos := flags >> 1 & 3
	s.text()
	id := uint16(1)
	if qos > 0 {
		id = s.uint16()
	}
	if version == version5 {
		s.properties(inPublish)
	}
	switch {
	case s.err != nil:
		return s.err
	case qos == 3: // [MQTT-3.3.1-4]
		return malformed("quality of service 3")
	case qos == 0 && flags&0x08 != 0: // [MQTT-3.3.1-2]
		return protocolError("DUP at quality of service 0")
	case id == 0: // [MQTT-2.2.1-3]
		return protocolError("packet identifier 0")
	}
	return nil
}

func (s *shape) ack(version byte, t packetType) error {
	id := s.uint16()
	if version == version5 && len(s.rest) > 0 { // reason and properties may be left out [5.0, 3.4.2.1]
		reason := Reason(s.octet())
		if len(s.rest) > 0 {
			s.properties(inAcks & (1 << t))
		}
		if s.err == nil && !legalAckReason(t, reason) { // [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
			return protocolError("reason code that this packet does not know")
		}
	}
	if err := s.end(); err != nil {
		return err
	}
	if id == 0 {
		return protocolError("packet identifier 0")
	}
	return nil
}

// legalAckReason knows the reason codes of the four acknowledgements (5.0, sections 3.4.2.1 to 3.7.2.1).
func legalAckReason(t packetType, r Reason) bool {
	if t == typePubrel || t == typePubcomp {
		return r == ReasonSuccess || r == ReasonPacketIDNotFound
	}
	switch r {
	case ReasonSuccess, ReasonNoMatchingSubscribers, ReasonUnspecified, ReasonImplementationSpecific,
		ReasonNotAuthorized, ReasonTopicNameInvalid, 0x91, ReasonQuotaExceeded, 0x99:
		return true
	}
	return false
}

func (s *shape) filters(version byte, t packetType) error {
	id := s.uint16()
	if version == version5 {
		s.properties(1 << t)
	}
	count := 0
	for ; len(s.rest) > 0; count++ {
		if count == s.limits.Filters {
			s.fail(overLimit("too many topic filters"))
		}
		if len(s.text()) == 0 && s.err == nil { // [MQTT-4.7.3-1]
			s.fail(protocolError("empty topic filter"))
		}
		if t == typeUnsubscribe {
			continue
		}
		options := s.octet()
		switch {
		case options&3 == 3: // [MQTT-3.8.3-4]
			s.fail(malformed("subscription with quality of service 3"))
		case version < version5 && options&^3 != 0, options&0xC0 != 0: // [MQTT-3.8.3-5]
			s.fail(malformed("reserved bits of the subscription options"))
		case options>>4&3 == 3:
			s.fail(protocolError("retain handling 3"))
		}
	}
	switch {
	case s.err != nil:
		return s.err
	case id == 0: // [MQTT-2.2.1-3]
		return protocolError("packet identifier 0")
	case count == 0: // [MQTT-3.8.3-2] [MQTT-3.10.3-2]
		return protocolError("no topic filter")
	}
	return nil
}

func (s *shape) disconnect(version byte) error {
	if version == version5 && len(s.rest) > 0 {
		reason := Reason(s.octet())
		if len(s.rest) > 0 {
			s.properties(inDisconnect)
		}
		if s.err == nil && !legalDisconnectReason(reason) { // [MQTT-3.14.2-1]
			return protocolError("reason code that this packet does not know")
		}
	}
	return s.end()
}

// legalDisconnectReason knows the reason codes of a client's DISCONNECT (5.0, table 3-10).
func legalDisconnectReason(r Reason) bool {
	switch r {
	case ReasonSuccess, ReasonDisconnectWithWill, ReasonUnspecified, ReasonMalformedPacket, ReasonProtocolError,
		ReasonImplementationSpecific, ReasonTopicNameInvalid, ReasonReceiveMaximumExceeded, ReasonTopicAliasInvalid,
		ReasonPacketTooLarge, 0x96, ReasonQuotaExceeded, ReasonAdministrativeAction, 0x99:
		return true
	}
	return false
}

func (s *shape) auth() error {
	if len(s.rest) > 0 { // all of it may be left out [5.0, 3.15.2.1]
		s.octet()
		if len(s.rest) > 0 {
			s.properties(inAuth)
		}
	}
	return s.end()
}

// protocolLevel looks at the protocol name and level of a CONNECT. ok is false when this server does not speak it; a
// packet that is no CONNECT at all is an error.
func protocolLevel(body []byte) (version byte, ok bool, err error) {
	s := shape{rest: body}
	name := string(s.binary())
	version = s.octet()
	switch {
	case s.err != nil:
		return 0, false, s.err
	case name == "MQIsdp":
		return version, version == version31, nil
	case name == "MQTT":
		return version, version == version311 || version == version5, nil
	}
	return 0, false, &Error{Reason: ReasonUnsupportedVersion, Text: "protocol name"} // [MQTT-3.1.2-1]
}
