package mqtt

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"tridge/core/auth"
	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/session"
)

// handshake reads CONNECT and answers it (3.1). Until it is there the peer has Limits.Handshake.
func (c *conn) handshake() error {
	limits := &c.server.limits
	if err := c.inlet.Handshake(limits.Handshake); err != nil {
		return err
	}
	header, body, err := c.packets.first()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("mqtt: no CONNECT within %v", limits.Handshake)
	case err != nil:
		return err
	}
	version, ok, err := protocolLevel(body)
	if err != nil {
		return err
	}
	c.version = version
	if !ok { // [MQTT-3.1.2-2]: in the words of the nearest version; bridges mark theirs with the highest bit
		c.version = version311
		if version > version5 && version < 0x80 {
			c.version = version5
		}
		return &Error{Reason: ReasonUnsupportedVersion, Text: "unsupported protocol version"}
	}
	will, err := limits.verify(version, header, body)
	if err != nil {
		return err
	}
	c.decoder = c.server.decoder(version)
	defer c.giveBack()
	if c.connect, err = c.decoder.decodeConnect(header, body, will); err != nil {
		return err
	}
	if err := c.inlet.Within(0); err != nil {
		return err
	}
	if c.ctx.Err() != nil { // it was woken by a deadline that has just been lifted
		return c.ctx.Err()
	}
	return c.accept()
}

// accept lets the client in and gives it its session.
func (c *conn) accept() error {
	p := c.connect
	if !c.server.admission.letIn(c.server.limits.ConnectRate) {
		return &Error{Reason: ReasonConnectionRateExceeded, Text: "connection rate exceeded"}
	}
	assigned, err := c.identify()
	if err != nil {
		return err
	}
	if err := c.server.limits.validWill(p.will); err != nil {
		return err
	}
	expiry, keepAlive := p.expiry, p.keepAlive
	c.server.limits.grant(p)
	var proven string
	var proof []byte
	if p.authMethod != "" { // 5.0, 4.12
		if proven, proof, err = c.prove(); err != nil {
			return err
		}
	}
	limits := &c.server.limits
	connack := connackPacket{
		receiveLimit: uint16(limits.ReceiveMaximum),
		packetLimit:  uint32(limits.PacketSize),
		aliasLimit:   uint16(limits.TopicAliases),
		expiry:       p.expiry,
		hasExpiry:    p.expiry != expiry,
		keepAlive:    uint16(p.keepAlive / time.Second),
		hasKeepAlive: p.keepAlive != keepAlive,
		authMethod:   p.authMethod,
		authData:     proof,
	}
	if prefix := c.server.config.ResponsePrefix; p.responseInfo && prefix != "" {
		connack.responseInfo = prefix + p.clientID
	}
	if assigned {
		connack.assignedID = p.clientID
	}
	if !c.fits(len(appendConnack(nil, c.version, &connack))) { // it cannot be served without what CONNACK says
		return errors.New("mqtt: the client takes no packet as long as CONNACK")
	}
	host, err := c.login(proven)
	if err != nil {
		return err
	}
	if err := c.take(sessionKey{host.Router.Name(), p.clientID}); err != nil {
		return err
	}
	if connack.sessionPresent, err = c.open(host); err != nil {
		return err
	}
	cs := c.session
	c.ingress = ingress{clientID: p.clientID, user: c.user, replies: host.Replies, losses: &c.server.losses}
	c.egress = egress{version: c.version, packetLimit: p.packetLimit, aliasLimit: min(p.aliasLimit, c.server.limits.SendAliases), replies: host.Replies, losses: &c.server.losses}
	c.beat()

	c.member = c.server.config.Sessions.Enter(c.net, session.Info{
		Protocol: protocolName(c.version), User: c.user, Mechanism: p.authMethod, VHost: cs.key.vhost, Name: p.clientID, Heartbeat: p.keepAlive,
	}, func(reason string) { c.stop(&Error{Reason: ReasonAdministrativeAction, Text: reason}) })

	for id := range cs.received {
		cs.received[id] = false
	}
	if err := c.resumeFeeds(); err != nil {
		return unavailable(err)
	}
	sub, err := c.listen()
	if err != nil {
		return unavailable(err)
	}
	if err := c.replaceWill(); err != nil {
		if sub != nil {
			sub.Close()
		}
		return unavailable(err)
	}
	c.server.enter(c)
	b := c.out.Begin()
	b = appendConnack(b, c.version, &connack)
	c.answers++
	c.accepted, c.sub = true, sub
	feeds := c.attach()
	c.opened = c.out.Round()
	cs.inflight.limit, cs.inflight.window = limits.Inflight, min(p.receiveLimit, limits.Inflight)
	release := cs.inflight.resume() // [MQTT-4.4.0-1]
	for _, id := range release {
		if !cs.durable {
			b = appendAck(b, c.version, typePubrel, id, ReasonSuccess)
			continue
		}
		c.release(id)
	}
	ticket := c.tickets
	c.out.End(b)
	if cs.durable && len(release) > 0 { // that PUBREC came may have been written by the connection before, and not be safe yet
		c.resumed.Redeem(confirm.Ticket{To: (*releaser)(c), Seq: ticket})
	}
	c.source.Wake()
	for _, f := range feeds {
		f.source.Wake()
	}
	return nil
}

// protocolName is what RabbitMQ's tools call the version.
func protocolName(version byte) string {
	return map[byte]string{version31: "MQTT 3-1-0", version311: "MQTT 3-1-1", version5: "MQTT 5-0"}[version]
}

// identify checks the client identifier, or assigns one (3.1.3.1).
func (c *conn) identify() (assigned bool, err error) {
	p := c.connect
	switch {
	case len(p.clientID) > c.server.limits.ClientID:
		return false, &Error{Reason: ReasonClientIDNotValid, Text: "client identifier too long"}
	case p.clientID != "":
		return false, nil
	case p.version == version31, p.version == version311 && !p.cleanStart: // [MQTT-3.1.3-8]
		return false, &Error{Reason: ReasonClientIDNotValid, Text: "client identifier missing"}
	}
	p.clientID = "auto-" + rand.Text()
	return true, nil
}

// validWill checks what the codec leaves to us. Wills to topics of the gateway are refused like any other publish.
func (l *Limits) validWill(w *willPacket) error {
	if w == nil {
		return nil
	}
	switch p := &w.publish; {
	case !validTopicName(p.topic), strings.HasPrefix(p.topic, "$"), l.tooDeep(p.topic):
		return &Error{Reason: ReasonTopicNameInvalid, Text: "will topic"}
	case strings.ContainsAny(p.responseTopic, "+#"): // [MQTT-3.3.2-14]
		return protocolError("wildcard in the response topic")
	case p.misformed():
		return &Error{Reason: ReasonPayloadFormatInvalid, Text: "will payload is not text"}
	}
	return nil
}

// login asks who the client is; proven is who it has shown to be, if it has.
func (c *conn) login(proven string) (Host, error) {
	p := c.connect
	credentials := auth.Credentials{User: p.user, Password: p.password, Named: p.named}
	// A certificate stands in for a password that is not there; a user named besides must be its own.
	if user := session.CertificateUser(c.net); proven == "" && p.password == nil && (!p.named || p.user == user) {
		proven = user
	}
	if proven != "" {
		credentials = auth.Credentials{User: proven, Named: true, Proven: true}
	}
	credentials.Remote = c.address()
	r, identity, err := c.server.config.Login(c.ctx, credentials, c.server.config.VHost)
	switch {
	case errors.Is(err, auth.ErrRefused):
		return Host{}, &Error{Reason: ReasonBadUserNameOrPassword, Text: "access refused", Cause: err}
	case err != nil:
		return Host{}, &Error{Reason: ReasonServerUnavailable, Text: "server unavailable", Cause: err}
	}
	c.user, p.password = identity.User, nil
	host, ok := c.server.config.Host(r.Name())
	if !ok {
		return Host{}, &Error{Reason: ReasonServerUnavailable, Text: "server unavailable",
			Cause: fmt.Errorf("virtual host %q is not there", r.Name())}
	}
	return host, nil
}

// take makes this connection the holder of a session. The holder before is disconnected [MQTT-3.1.4-3] and waited
// for, so that what it had unacknowledged is back in the queue.
func (c *conn) take(key sessionKey) error {
	cs, before := c.server.claim(key, &c.holder)
	c.session = cs
	if before == nil {
		return nil
	}
	if before.evict != nil {
		before.evict()
	}
	<-before.released // bounded: its reader is woken, its writer has goodbyeTime
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	return nil
}

// open gives the connection the session it asked for: the one that is there, or a new one. present says which.
func (c *conn) open(host Host) (present bool, err error) {
	s, cs, p := c.server, c.session, c.connect
	if cs.alive && (p.cleanStart || !cs.intact()) {
		if err := s.end(cs); err != nil {
			return false, unavailable(err)
		}
	}
	c.took = true
	if !cs.alive {
		s.publishWill(cs) // of a session that ended with the gateway before this one
		if err := s.begin(cs, host, host.Router.NewOrigin(), p.expiry); err != nil {
			return false, unavailable(err)
		}
		return false, unavailable(s.awaitEnded(c.ctx)) // CONNACK says that there is no session: a crash must not know better
	}
	if cs.durable { // an exclusive queue stays with the origin that declared it
		cs.origin = cs.host.Router.NewOrigin()
	}
	cs.expiry, cs.endsAt = p.expiry, 0
	if cs.durable {
		c.resumed, err = s.config.State.Put(cs.row(0))
	}
	return true, unavailable(err)
}

// replaceWill notes the will of this connection. One of the connection before was delayed for exactly this: it is not
// published [MQTT-3.1.3-9].
func (c *conn) replaceWill() error {
	s, cs := c.server, c.session
	var rows []queue.Row
	if cs.will != nil && cs.will.row != "" {
		rows = append(rows, cs.will.tombstone())
	}
	cs.will = nil
	if will := c.connect.will; will != nil {
		if c.will = s.newWill(cs.key, will, c.user); c.will.row != "" {
			rows = append(rows, c.will.value())
		}
	}
	return s.putWills(rows...)
}

func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Reason: ReasonServerUnavailable, Text: "server unavailable", Cause: err}
}

// intact reports whether the session's queue is still there: an operator may have deleted it.
func (cs *clientSession) intact() bool {
	if cs.queue == nil {
		return !slices.ContainsFunc(cs.filters, func(s subscription) bool { return s.kind == kindPlain })
	}
	q, err := cs.host.Router.Queue(cs.queue.Name(), cs.origin)
	return err == nil && q == cs.queue
}

// beat watches the client's keep-alive [MQTT-3.1.2-22].
func (c *conn) beat() {
	if c.connect.keepAlive == 0 {
		return
	}
	silent := func() { c.stop(&Error{Reason: ReasonKeepAliveTimeout, Text: "keep alive timeout"}) }
	c.inlet.Beat(session.NewHeart(c.out, 0, c.connect.keepAlive*3/2, nil, silent))
}

// detach ends the connection's hold on its session: tokens go back, the session ends or waits for its client.
// The writer has ended.
func (c *conn) detach() {
	s, cs := c.server, c.session
	c.abandonFeeds()
	if c.accepted {
		b := c.out.Begin()
		tokens, fed := cs.inflight.lose()
		// Rows that become safe from now on are the business of whoever holds the session next.
		c.cursors, c.recording, c.releasing = nil, nil, nil
		c.out.End(b)
		if err := c.flushAcks(); err != nil {
			c.logger().Error("acknowledgements not written", "err", err)
		}
		if c.sub != nil {
			if len(tokens) > 0 {
				if _, err := c.sub.Settle(tokens, queue.Requeue); err != nil && !errors.Is(err, queue.ErrClosed) {
					c.logger().Error("deliveries not requeued", "queue", cs.queue.Name(), "err", err)
				}
			}
			c.sub.Close()
		}
		c.detachFeeds(fed)
		var err error
		switch w := c.will; {
		case w == nil:
		case !c.bye:
			err = s.leaveWill(cs, w)
		case w.row != "":
			err = s.putWills(w.tombstone())
		}
		if err != nil {
			c.logger().Error("will not written", "err", err)
		}
	}
	if c.took && cs.alive { // also when its queue could not be had then, and no CONNACK was sent
		c.park()
	}
	s.release(cs, &c.holder)
}

// park ends the session, or notes until when it waits for its client.
func (c *conn) park() {
	s, cs := c.server, c.session
	var err error
	switch {
	case cs.expiry == 0:
		err = s.end(cs)
	case cs.expiry == never:
		cs.endsAt = 0
	default:
		cs.endsAt = time.Now().UnixMilli() + int64(cs.expiry)*1000
	}
	if err == nil && cs.durable {
		_, err = s.config.State.Put(cs.row(cs.endsAt))
	}
	if err != nil {
		c.logger().Error("session state not written", "err", err)
	}
}
