package mqtt

import (
	"container/heap"
	"slices"
	"sync"
	"time"
)

// alarm is when the clock looks after a session that nobody holds.
type alarm struct {
	at    int64 // Unix ms
	index int   // in the heap, from 1; 0 when not in it
}

// clock is the one clock of a server: a heap of sessions by their next deadline and a single timer for the first.
// It is guarded by Server.mu.
type clock struct {
	heap    deadlines
	timer   *time.Timer
	stopped bool
	running sync.WaitGroup
}

// due is the next event of a session that nobody holds; 0 is none.
func (cs *clientSession) due() int64 {
	at := cs.endsAt
	if cs.will != nil && (at == 0 || cs.will.at < at) {
		at = cs.will.at
	}
	return at
}

// arm has the clock look after cs at a time. mu is held.
func (s *Server) arm(cs *clientSession, at int64) {
	if s.clock.stopped {
		return
	}
	cs.alarm.at = at
	heap.Push(&s.clock.heap, cs)
	s.setTimer()
}

// setTimer points the timer at the first deadline, or the next look at the disk. mu is held.
func (s *Server) setTimer() {
	waiting := s.overdue.count.Load() > 0
	if len(s.clock.heap) == 0 && !waiting || s.clock.stopped {
		return
	}
	wait := time.Minute // wall time may jump while a long wait is under way
	if len(s.clock.heap) > 0 {
		wait = min(wait, max(0, time.Until(time.UnixMilli(s.clock.heap[0].alarm.at))))
	}
	if waiting {
		wait = min(wait, overdueAgain)
	}
	if s.clock.timer == nil {
		s.clock.timer = time.AfterFunc(wait, s.tick)
		return
	}
	s.clock.timer.Reset(wait)
}

// remove takes a session out that somebody holds again. Server.mu is held.
func (c *clock) remove(cs *clientSession) {
	if cs.alarm.index > 0 {
		heap.Remove(&c.heap, cs.alarm.index-1)
	}
}

// tick holds every session that is due and ends it or publishes its will.
func (s *Server) tick() {
	now := time.Now().UnixMilli()
	s.mu.Lock()
	if s.clock.stopped {
		s.mu.Unlock()
		return
	}
	s.clock.running.Add(1)
	defer s.clock.running.Done()
	due := s.clock.due(now)
	s.setTimer()
	s.mu.Unlock()
	s.passOverdue()
	for _, d := range due {
		if cs := d.session; cs.endsAt != 0 && cs.endsAt <= now {
			s.mu.Lock()
			s.expired++
			s.mu.Unlock()
			s.log.Info("session expired", "vhost", cs.key.vhost, "client", cs.key.clientID)
			if err := s.end(cs); err != nil {
				s.log.Error("expired session not removed", "vhost", cs.key.vhost, "client", cs.key.clientID, "err", err)
			}
		} else {
			s.publishWill(cs)
		}
		s.release(d.session, d.holder)
	}
}

// heldSession is a session that the clock holds.
type heldSession struct {
	session *clientSession
	holder  *holder
}

// due takes the sessions whose time has come and holds them. Server.mu is held.
func (c *clock) due(now int64) (list []heldSession) {
	for len(c.heap) > 0 && c.heap[0].alarm.at <= now {
		list = append(list, c.hold(c.heap[0]))
	}
	return list
}

// hold takes a session out of the heap and holds it. Server.mu is held.
func (c *clock) hold(cs *clientSession) heldSession {
	c.remove(cs)
	cs.holder = &holder{released: make(chan struct{})}
	return heldSession{cs, cs.holder}
}

// Close stops the clock and publishes the wills that have waited for the disk. Those that are delayed stay so until after
// the restart; without State they are published, too. Connections must have ended.
func (s *Server) Close() {
	s.mu.Lock()
	s.clock.stopped = true
	if s.clock.timer != nil {
		s.clock.timer.Stop()
	}
	if s.sys != nil {
		s.sys.timer.Stop()
	}
	s.mu.Unlock()
	s.clock.running.Wait()
	s.mu.Lock()
	var wills []heldSession
	for _, cs := range slices.Clone(s.clock.heap) {
		if cs.will != nil && s.config.State == nil {
			wills = append(wills, s.clock.hold(cs))
		}
	}
	s.mu.Unlock()
	s.overdue.mu.Lock()
	s.publishOverdue(true)
	s.overdue.mu.Unlock()
	for _, d := range wills {
		s.publish(overdueWill{d.session.host, d.session.key, d.session.will})
		d.session.will = nil
		s.release(d.session, d.holder)
	}
}

// deadlines is a heap of sessions by their alarm.
type deadlines []*clientSession

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].alarm.at < d[j].alarm.at }

func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].alarm.index, d[j].alarm.index = i+1, j+1
}

// Push implements heap.Interface.
func (d *deadlines) Push(x any) {
	cs := x.(*clientSession)
	*d = append(*d, cs)
	cs.alarm.index = len(*d)
}

// Pop implements heap.Interface.
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	cs := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	cs.alarm.index = 0
	return cs
}
