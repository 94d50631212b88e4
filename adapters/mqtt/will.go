package mqtt

import (
	"time"

	"tridge/core/router"
)

// delayedWill is a will that is published at a time, unless its client comes back before (5.0, section 3.1.3.2.2).
type delayedWill struct {
	at   int64 // Unix ms
	user string
	will *willPacket
}

// leaveWill hands the will of a connection that ended without a clean DISCONNECT to its session.
func (s *Server) leaveWill(cs *clientSession, w *willPacket, user string) {
	cs.will = &delayedWill{at: time.Now().UnixMilli() + int64(w.delay)*1000, user: user, will: w}
	if w.delay == 0 {
		s.publishWill(cs)
	}
}

// publishWill publishes the will of a session, if it has one [MQTT-3.1.2-8].
func (s *Server) publishWill(cs *clientSession) {
	w := cs.will
	if w == nil {
		return
	}
	cs.will = nil
	in := ingress{clientID: cs.key.clientID, user: w.user, replies: cs.host.Replies, losses: &s.losses}
	m := in.message(&w.will.publish, topicExchange, swap(w.will.publish.topic), time.Now().UnixMilli())
	if _, _, err := cs.host.Router.NewPublisher(0).PublishAfter(min(in.delay, router.MaxDelay), m); err != nil {
		s.log.Error("will not published", "vhost", cs.key.vhost, "client", cs.key.clientID, "err", err)
	}
}
