package mqtt

import (
	"bytes"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// This file is the only one that knows the codec library, so that it can be replaced. The library decodes; what it
// leaves unchecked has been proven by verify, and what this server sends is appended by encode.go without it.

// userProperty is a name and a value.
type userProperty = packets.UserProperty

// decoder turns packets into this package's types. Its packets are reused: what it returns is valid until its next
// call unless a type says that it owns its bytes.
type decoder struct {
	version byte
	packet  packets.Packet // 800 bytes: never a copy
	publish publishPacket
}

// keptUsers is how many user properties an idle connection keeps memory for.
const keptUsers = 16

// release lets go of the packet decoded last: an idle connection keeps none of it, however large it was.
func (d *decoder) release() {
	users := d.packet.Properties.User
	clear(users)
	if cap(users) > keptUsers {
		users = nil
	}
	d.packet.Properties = packets.Properties{User: users[:0]}
	d.packet.Payload, d.packet.TopicName, d.packet.Filters = nil, "", nil
	d.publish = publishPacket{}
}

// decoder borrows a decoder.
func (s *Server) decoder(version byte) *decoder {
	d, ok := s.decoders.Get().(*decoder)
	if !ok {
		d = new(decoder)
	}
	d.version = version
	return d
}

// giveBack ends the loan: an idle connection has no decoder.
func (c *conn) giveBack() {
	if c.decoder != nil {
		c.decoder.release()
		c.server.decoders.Put(c.decoder)
		c.decoder = nil
	}
}

// start readies the library's packet for one more decoding.
func (d *decoder) start(header byte, body []byte) error {
	users := d.packet.Properties.User
	clear(users)
	d.packet.Properties = packets.Properties{User: users[:0]}
	d.packet.PacketID, d.packet.ReasonCode, d.packet.ReasonCodes = 0, 0, nil
	d.packet.ProtocolVersion = d.version
	d.packet.FixedHeader = packets.FixedHeader{Remaining: len(body)}
	if d.version == version31 {
		header = header31(header)
	}
	return d.checked(d.packet.FixedHeader.Decode(header))
}

// checked turns a failure of the library into ours. verify has been there before, so it takes a packet that the two
// read differently to get here.
func (d *decoder) checked(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Reason: ReasonMalformedPacket, Text: "malformed packet", Cause: err}
}

// decodeConnect decodes a CONNECT and sets the version that all later packets are read by. will is the properties that
// the will has.
func (d *decoder) decodeConnect(header byte, body []byte, will propertySet) (*connectPacket, error) {
	if err := d.start(header, body); err != nil {
		return nil, err
	}
	d.packet.Connect = packets.ConnectParams{}
	if err := d.checked(d.packet.ConnectDecode(body)); err != nil {
		return nil, err
	}
	d.version = d.packet.ProtocolVersion
	connect, properties := &d.packet.Connect, &d.packet.Properties
	c := &connectPacket{
		version:      d.version,
		cleanStart:   connect.Clean,
		keepAlive:    time.Duration(connect.Keepalive) * time.Second,
		clientID:     strings.Clone(connect.ClientIdentifier),
		named:        connect.UsernameFlag,
		user:         string(connect.Username),
		password:     append([]byte(nil), connect.Password...),
		authMethod:   strings.Clone(properties.AuthenticationMethod),
		authData:     bytes.Clone(properties.AuthenticationData),
		problemInfo:  !properties.RequestProblemInfoFlag || properties.RequestProblemInfo == 1,
		expiry:       properties.SessionExpiryInterval,
		receiveLimit: int(properties.ReceiveMaximum),
		packetLimit:  int(properties.MaximumPacketSize),
		aliasLimit:   int(properties.TopicAliasMaximum),
		responseInfo: properties.RequestResponseInfo == 1,
	}
	if c.authMethod == "" && c.authData != nil { // 5.0, 3.1.2.11.10
		return nil, protocolError("authentication data without a method")
	}
	if c.receiveLimit == 0 { // absent: verify refuses 0 [5.0, 3.1.2.11.3]
		c.receiveLimit = 65_535
	}
	if c.version < version5 && !c.cleanStart {
		c.expiry = never
	}
	if connect.WillFlag {
		c.will = &willPacket{delay: connect.WillProperties.WillDelayInterval}
		w := &c.will.publish
		fillPublish(w, &connect.WillProperties, will)
		w.topic, w.payload = connect.WillTopic, connect.WillPayload
		w.qos, w.retain = connect.WillQos, connect.WillRetain
		w.own()
	}
	*connect = packets.ConnectParams{}
	return c, nil
}

// decodePublish decodes a PUBLISH that has these properties.
func (d *decoder) decodePublish(header byte, body []byte, present propertySet) (*publishPacket, error) {
	if err := d.start(header, body); err != nil {
		return nil, err
	}
	if err := d.checked(d.packet.PublishDecode(body)); err != nil {
		return nil, err
	}
	fillPublish(&d.publish, &d.packet.Properties, present)
	p, fixed := &d.publish, &d.packet.FixedHeader
	p.topic, p.payload, p.id = d.packet.TopicName, d.packet.Payload, d.packet.PacketID
	p.qos, p.retain, p.dup = fixed.Qos, fixed.Retain, fixed.Dup
	return p, nil
}

func fillPublish(p *publishPacket, properties *packets.Properties, present propertySet) {
	*p = publishPacket{
		alias:          properties.TopicAlias,
		hasAlias:       properties.TopicAliasFlag,
		hasFormat:      properties.PayloadFormatFlag,
		format:         properties.PayloadFormat,
		hasExpiry:      present.has(messageExpiryID),
		expiry:         properties.MessageExpiryInterval,
		hasContentType: present.has(contentTypeID),
		contentType:    properties.ContentType,
		responseTopic:  properties.ResponseTopic,
		hasCorrelation: properties.CorrelationData != nil,
		correlation:    properties.CorrelationData,
		userProperties: properties.User,
	}
}

// decodeAck decodes a PUBACK, PUBREC, PUBREL or PUBCOMP.
func (d *decoder) decodeAck(header byte, body []byte) (ackPacket, error) {
	if err := d.start(header, body); err != nil {
		return ackPacket{}, err
	}
	err := d.checked(d.packet.PubackDecode(body)) // the four are read alike
	return ackPacket{id: d.packet.PacketID, reason: Reason(d.packet.ReasonCode)}, err
}

// decodeSubscribe decodes a SUBSCRIBE.
func (d *decoder) decodeSubscribe(header byte, body []byte) (*subscribePacket, error) {
	if err := d.start(header, body); err != nil {
		return nil, err
	}
	if err := d.checked(d.packet.SubscribeDecode(body)); err != nil {
		return nil, err
	}
	s := &subscribePacket{id: d.packet.PacketID, requests: make([]filterRequest, 0, len(d.packet.Filters))}
	if list := d.packet.Properties.SubscriptionIdentifier; len(list) > 0 {
		s.identifier = uint32(list[0])
	}
	for i := range d.packet.Filters {
		f := &d.packet.Filters[i]
		s.requests = append(s.requests, filterRequest{
			filter:            strings.Clone(f.Filter),
			qos:               f.Qos,
			noLocal:           f.NoLocal,
			retainAsPublished: f.RetainAsPublished,
			retainHandling:    f.RetainHandling,
		})
	}
	return s, nil
}

// decodeUnsubscribe decodes an UNSUBSCRIBE. The filters are copies.
func (d *decoder) decodeUnsubscribe(header byte, body []byte) (id uint16, filters []string, err error) {
	if err := d.start(header, body); err != nil {
		return 0, nil, err
	}
	if err := d.checked(d.packet.UnsubscribeDecode(body)); err != nil {
		return 0, nil, err
	}
	for i := range d.packet.Filters {
		filters = append(filters, strings.Clone(d.packet.Filters[i].Filter))
	}
	return d.packet.PacketID, filters, nil
}

// decodeAuth decodes an AUTH.
func (d *decoder) decodeAuth(header byte, body []byte) (authPacket, error) {
	if len(body) == 0 { // all of it may be left out [5.0, 3.15.2.1]
		return authPacket{reason: ReasonSuccess}, nil
	}
	if err := d.start(header, body); err != nil {
		return authPacket{}, err
	}
	err := d.checked(d.packet.AuthDecode(body))
	return authPacket{
		reason: Reason(d.packet.ReasonCode),
		method: strings.Clone(d.packet.Properties.AuthenticationMethod),
		data:   bytes.Clone(d.packet.Properties.AuthenticationData),
	}, err
}

// decodeDisconnect decodes a DISCONNECT.
func (d *decoder) decodeDisconnect(header byte, body []byte) (disconnectPacket, error) {
	if err := d.start(header, body); err != nil {
		return disconnectPacket{}, err
	}
	if d.version == version5 && len(body) == 1 { // the library reads the reason only when properties follow
		return disconnectPacket{reason: Reason(body[0])}, nil
	}
	err := d.checked(d.packet.DisconnectDecode(body))
	return disconnectPacket{
		reason:    Reason(d.packet.ReasonCode),
		hasExpiry: d.packet.Properties.SessionExpiryIntervalFlag,
		expiry:    d.packet.Properties.SessionExpiryInterval,
	}, err
}
