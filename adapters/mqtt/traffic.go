package mqtt

import (
	"sync/atomic"

	"tridge/core/session"
)

// traffic counts what goes through connections.
type traffic struct {
	packetsIn, packetsOut           uint64
	publishesIn, publishesOut       uint64
	publishBytesIn, publishBytesOut uint64 // of payloads
	bytesIn, bytesOut               uint64
}

func (t *traffic) add(o *traffic) {
	t.packetsIn, t.packetsOut = t.packetsIn+o.packetsIn, t.packetsOut+o.packetsOut
	t.publishesIn, t.publishesOut = t.publishesIn+o.publishesIn, t.publishesOut+o.publishesOut
	t.publishBytesIn, t.publishBytesOut = t.publishBytesIn+o.publishBytesIn, t.publishBytesOut+o.publishBytesOut
	t.bytesIn, t.bytesOut = t.bytesIn+o.bytesIn, t.bytesOut+o.bytesOut
}

// inbound is what one connection has read.
type inbound struct{ packetsIn, publishesIn, publishBytesIn uint64 }

// told is what a connection's goroutines have said of their counts. They count by themselves and tell when they are about to
// wait, so that a message costs no more than an addition.
type told struct{ packetsIn, publishesIn, publishBytesIn, publishesOut, publishBytesOut atomic.Uint64 }

// tellIn is told by the reader.
func (c *conn) tellIn() {
	c.told.packetsIn.Store(c.in.packetsIn)
	c.told.publishesIn.Store(c.in.publishesIn)
	c.told.publishBytesIn.Store(c.in.publishBytesIn)
}

// tellOut is told by the writer.
func (c *conn) tellOut() {
	c.told.publishesOut.Store(c.egress.sent)
	c.told.publishBytesOut.Store(c.egress.sentBytes)
}

// traffic is what the connection has counted and told.
func (c *conn) traffic() traffic {
	b := c.out.Begin()
	answers := c.answers
	c.out.End(b)
	t := traffic{
		packetsIn: c.told.packetsIn.Load(), publishesIn: c.told.publishesIn.Load(), publishBytesIn: c.told.publishBytesIn.Load(),
		publishesOut: c.told.publishesOut.Load(), publishBytesOut: c.told.publishBytesOut.Load(),
	}
	t.packetsOut = answers + t.publishesOut
	t.bytesIn, t.bytesOut = session.Traffic(c.net)
	return t
}

// enter has the connection counted among those there are.
func (s *Server) enter(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		s.live = map[*conn]struct{}{}
	}
	s.live[c] = struct{}{}
	s.opened++
}

// exit keeps what a connection that has ended had counted.
func (s *Server) exit(c *conn) {
	t := c.traffic()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, c)
	s.past.add(&t)
}

// traffic is that of all connections there were. It looks at each of those there are.
func (s *Server) traffic() traffic {
	s.mu.Lock()
	list := make([]*conn, 0, len(s.live))
	for c := range s.live {
		list = append(list, c)
	}
	t := s.past
	s.mu.Unlock()
	for _, c := range list { // one that ends meanwhile is counted from here
		own := c.traffic()
		t.add(&own)
	}
	return t
}
