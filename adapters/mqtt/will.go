package mqtt

import (
	"sync"
	"sync/atomic"
	"time"

	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/session"
)

// delayedWill is a will that is published at a time, unless its client comes back before (5.0, section 3.1.3.2.2).
type delayedWill struct {
	at   int64 // Unix ms; 0 while its client is connected
	user string
	will *willPacket
	row  string // the key of its row; "" when it has none
	came int64  // Unix ms of the CONNECT
}

const (
	// overdueBytes bounds the wills that wait for a disk to have space: those beyond wait for the next start.
	overdueBytes = 16 << 20
	// overdueCost is what one of them takes in memory but for its bytes, about.
	overdueCost = 512
	// overdueAgain is how often it is asked whether there is space, should nobody publish.
	overdueAgain = time.Second
)

// overdue are the wills whose time came while the disk was full. They are published in order as soon as it is not, and
// before anything that a client publishes then: it may be the one whose will it is.
type overdue struct {
	count atomic.Int32 // of list, for who only wants to know whether there are any

	mu    sync.Mutex // held while they are published
	list  []overdueWill
	bytes int
}

type overdueWill struct {
	host Host
	key  sessionKey
	will *delayedWill
}

// newWill is the will of a client that connects. It has a row of its own: that of the connection before may still wait for the
// disk.
func (s *Server) newWill(key sessionKey, w *willPacket, user string) *delayedWill {
	will := &delayedWill{user: user, will: w, came: time.Now().UnixMilli()}
	if s.config.State != nil {
		will.row = newWillKey(key)
	}
	return will
}

// leaveWill hands the will of a connection that ended without a clean DISCONNECT to its session.
func (s *Server) leaveWill(cs *clientSession, w *delayedWill) error {
	w.at = time.Now().UnixMilli() + int64(w.will.delay)*1000
	cs.will = w
	if w.will.delay == 0 {
		s.publishWill(cs)
		return nil
	}
	return s.putWills(w.value())
}

// putWills writes rows of wills that have one.
func (s *Server) putWills(rows ...queue.Row) error {
	if s.config.State == nil || len(rows) == 0 {
		return nil
	}
	// Not waited for: it is written at once, so what may lose it is a crash of the machine within the second until it is
	// synced, and MQTT promises no will then.
	_, err := s.config.State.Put(rows...)
	return err
}

// publishWill publishes the will of a session, if it has one [MQTT-3.1.2-8], or has it wait for the disk: what nobody
// confirms must not take the space that acknowledgements need.
func (s *Server) publishWill(cs *clientSession) {
	if cs.will == nil {
		return
	}
	w := overdueWill{cs.host, cs.key, cs.will}
	cs.will = nil
	o := &s.overdue
	o.mu.Lock()
	defer o.mu.Unlock()
	s.publishOverdue(false)
	if !s.short() {
		s.publish(w)
		return
	}
	size := w.size()
	if o.bytes+size > overdueBytes {
		// Its row stays: it is published by the next start.
		s.log.Error("will not published: too many wait for space on the disk", "vhost", w.key.vhost, "client", w.key.clientID)
		return
	}
	o.list, o.bytes = append(o.list, w), o.bytes+size
	o.count.Store(int32(len(o.list)))
	s.mu.Lock()
	s.setTimer()
	s.mu.Unlock()
}

// short reports whether wills have to wait.
func (s *Server) short() bool { return s.config.Gate.Shut()&session.Disk != 0 }

// passOverdue publishes the wills that have waited for the disk, if it has space. It costs one atomic load when there are
// none.
func (s *Server) passOverdue() {
	if s.overdue.count.Load() == 0 {
		return
	}
	s.overdue.mu.Lock()
	defer s.overdue.mu.Unlock()
	s.publishOverdue(false)
}

// publishOverdue is passOverdue with overdue.mu held. With all it does not ask for space.
func (s *Server) publishOverdue(all bool) {
	o := &s.overdue
	for len(o.list) > 0 && (all || !s.short()) {
		w := o.list[0]
		o.list[0] = overdueWill{}
		o.list, o.bytes = o.list[1:], o.bytes-w.size()
		s.publish(w)
		o.count.Store(int32(len(o.list))) // after it: whoever reads 0 comes behind it
	}
	if len(o.list) == 0 {
		o.list = nil
	}
}

// size is about what a will takes while it waits.
func (w *overdueWill) size() int { return overdueCost + w.will.will.publish.size() }

// publish publishes a will. Its row goes in the same record, so that no crash has it published twice, or never.
func (s *Server) publish(w overdueWill) {
	var rows []queue.Row
	if w.will.row != "" {
		rows = append(rows, w.will.tombstone())
	}
	in := ingress{clientID: w.key.clientID, user: w.will.user, replies: w.host.Replies, losses: &s.losses}
	p := &w.will.will.publish
	m := in.message(p, topicExchange, swap(p.topic), time.Now().UnixMilli())
	if _, _, err := w.host.Router.NewPublisher(0).PublishAfter(min(in.delay, router.MaxDelay), m, rows...); err != nil {
		s.log.Error("will not published", "vhost", w.key.vhost, "client", w.key.clientID, "err", err)
		if len(rows) > 0 { // it would not be the next time; or the log has failed, and the next start has it
			_, _ = s.config.State.Put(rows...)
		}
	}
}
