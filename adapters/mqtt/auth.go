package mqtt

import (
	"errors"

	"tridge/core/auth"
)

// authPacket is an AUTH (5.0, section 3.15). Its bytes are copies.
type authPacket struct {
	reason Reason
	method string
	data   []byte
}

// enhanced is the state of enhanced authentication (5.0, section 4.12): SCRAM-SHA-256, whose first message comes in CONNECT
// and whose last one goes in CONNACK, or in the AUTH that ends a re-authentication.
type enhanced struct {
	method string // of CONNECT; "" for none
	talk   *auth.SCRAM
}

// prove has the client prove who it is before CONNACK, and returns the user and what CONNACK says.
func (c *conn) prove() (user string, data []byte, err error) {
	p := c.connect
	if p.authMethod != auth.SCRAMName || c.server.config.SCRAM == nil { // [MQTT-4.12.0-1]
		return "", nil, &Error{Reason: ReasonBadAuthenticationMethod, Text: "authentication method not supported"}
	}
	c.enhanced.method = p.authMethod
	if err := c.challenge(p.authData); err != nil {
		return "", nil, err
	}
	if err := c.inlet.Within(c.server.limits.Handshake); err != nil {
		return "", nil, err
	}
	limit := c.packets.limit
	c.packets.limit = min(limit, maxConnect)
	header, body, _, err := c.packets.next()
	c.packets.limit = limit
	if err == nil {
		_, err = c.server.limits.verify(c.version, header, body)
	}
	if err != nil {
		return "", nil, err
	}
	if err := c.inlet.Within(0); err != nil {
		return "", nil, err
	}
	if c.ctx.Err() != nil { // it was woken by a deadline that has just been lifted
		return "", nil, c.ctx.Err()
	}
	switch packetType(header >> 4) {
	case typeDisconnect:
		return "", nil, errDisconnect
	case typeAuth:
	default: // [MQTT-3.1.2-30]
		return "", nil, protocolError("packet before CONNACK")
	}
	a, err := c.decoder.decodeAuth(header, body)
	if err == nil {
		err = c.belongs(a, ReasonContinueAuthentication)
	}
	if err != nil {
		return "", nil, err
	}
	return c.judge(a.data)
}

// belongs checks that an AUTH says what is due, of the method that CONNECT named [MQTT-4.12.0-5] [MQTT-4.12.1-1].
func (c *conn) belongs(a authPacket, due Reason) error {
	switch {
	case a.method != c.enhanced.method:
		return protocolError("another authentication method")
	case a.reason != due:
		return protocolError("AUTH out of turn")
	}
	return nil
}

// challenge answers the client's first message by an AUTH.
func (c *conn) challenge(first []byte) error {
	talk := c.server.config.SCRAM()
	challenge, err := talk.First(first)
	if err != nil {
		return refusedProof(err)
	}
	answer := appendAuth(nil, ReasonContinueAuthentication, c.enhanced.method, challenge)
	if !c.fits(len(answer)) {
		return &Error{Reason: ReasonPacketTooLarge, Text: "answer over the maximum packet size"}
	}
	c.enhanced.talk = talk
	b := c.out.Begin()
	c.out.End(append(b, answer...))
	return nil
}

// judge checks the client's proof.
func (c *conn) judge(final []byte) (user string, data []byte, err error) {
	talk := c.enhanced.talk
	c.enhanced.talk = nil
	if data, user, err = talk.Final(final); err != nil {
		return "", nil, refusedProof(err)
	}
	return user, data, nil
}

// refusedProof says nothing of what was wrong with it: neither names nor passwords shall be probed.
func refusedProof(err error) error {
	if !errors.Is(err, auth.ErrRefused) {
		return &Error{Reason: ReasonUnspecified, Text: "internal error", Cause: err}
	}
	return &Error{Reason: ReasonNotAuthorized, Text: "access refused", Cause: err}
}

// reauthenticate handles an AUTH of a client that has been let in (5.0, section 4.12.1): it proves once more that it is who
// it was. Everything else goes on meanwhile.
func (c *conn) reauthenticate(a authPacket) error {
	if c.enhanced.method == "" { // [MQTT-4.12.0-7]
		return protocolError("AUTH without an authentication method")
	}
	if c.enhanced.talk == nil {
		if err := c.belongs(a, ReasonReauthenticate); err != nil {
			return err
		}
		return c.challenge(a.data)
	}
	if err := c.belongs(a, ReasonContinueAuthentication); err != nil {
		return err
	}
	user, data, err := c.judge(a.data)
	if err != nil {
		return err
	}
	if user != c.user {
		return &Error{Reason: ReasonNotAuthorized, Text: "access refused", Cause: errors.New("re-authenticated as another user")}
	}
	b := c.out.Begin()
	if !c.closed {
		b = appendAuth(b, ReasonSuccess, c.enhanced.method, data)
	}
	c.out.End(b)
	return nil
}
