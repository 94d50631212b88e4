package mqtt

import (
	"encoding/binary"
	"maps"
	"time"
)

// people are the clients and what they know.
type people struct {
	gateway   *gateway
	receivers map[string]*receiver
	senders   map[string]*sender
}

// clone is the same people before another gateway.
func (p *people) clone(g *gateway) *people {
	own := &people{g, map[string]*receiver{}, map[string]*sender{}}
	for id, r := range p.receivers {
		c := *r
		c.client, c.held, c.got = nil, maps.Clone(r.held), maps.Clone(r.got)
		own.receivers[id] = &c
	}
	for id, s := range p.senders {
		c := *s
		c.client = nil
		own.senders[id] = &c
	}
	return own
}

func (p *people) receiver(id string) *receiver {
	if p.receivers[id] == nil {
		p.receivers[id] = &receiver{id: id, held: map[uint16]string{}, got: map[string]int{}}
	}
	return p.receivers[id]
}

func (p *people) sender(id string) *sender {
	if p.senders[id] == nil {
		p.senders[id] = &sender{id: id, payload: id, topic: "a/b"}
	}
	return p.senders[id]
}

// got is how often a payload has come, to whomever.
func (p *people) got(payload string) (n int) {
	for _, r := range p.receivers {
		n += r.got[payload]
	}
	return n
}

// settle has everybody finish what they have begun: receivers first, so that nothing is published to nobody.
func (p *people) settle() {
	for _, r := range p.receivers {
		r.connect(p.gateway)
	}
	for _, s := range p.senders {
		s.finish(p.gateway)
	}
	for quiet := false; !quiet; {
		quiet = true
		for _, r := range p.receivers {
			for r.take(time.Second) {
				r.reply()
				quiet = false
			}
		}
	}
}

// receiver is a client that takes messages as the specification has it.
type receiver struct {
	*client
	id, filter string
	held       map[uint16]string // QoS 2 identifiers that are not released, and what came under them
	got        map[string]int
	owed       []byte // the answer to the packet taken last
	subscribed bool   // SUBACK came
}

// connect connects, and subscribes unless the session has. What waits for it comes before SUBACK then.
func (r *receiver) connect(g *gateway) {
	g.t.Helper()
	var connack []byte
	r.client, connack = g.connect(persistent(version5, r.id))
	if connack[0] == 1 && r.subscribed {
		return
	}
	r.send(r.subscription(1, nil, qos2, r.filter))
	for r.subscribed = false; !r.subscribed; {
		r.must()
		r.reply()
	}
}

// take reads one packet; false when none comes.
func (r *receiver) take(wait time.Duration) bool {
	kind, body, err := r.read(wait)
	if err != nil {
		return false
	}
	r.owed = nil
	switch kind {
	case 0x90:
		r.subscribed = true
		return true
	case 0x62:
		id := binary.BigEndian.Uint16(body)
		delete(r.held, id)
		r.owed = appendAck(nil, version311, typePubcomp, id, ReasonSuccess)
		return true
	}
	switch m := r.decode(kind, body); m.qos {
	case qos2:
		known, again := r.held[m.id]
		if again && known != m.payload {
			r.t.Errorf("%s: %q came under the identifier of %q", r.id, m.payload, known)
		}
		if !again {
			r.held[m.id] = m.payload
			r.got[m.payload]++
		}
		r.owed = appendAck(nil, version311, typePubrec, m.id, ReasonSuccess)
	case qos1:
		r.got[m.payload]++
		r.owed = appendAck(nil, version311, typePuback, m.id, ReasonSuccess)
	default:
		r.got[m.payload]++
	}
	return true
}

// must is take of what has to come.
func (r *receiver) must() {
	r.t.Helper()
	if !r.take(patience) {
		r.t.Fatalf("%s: nothing came", r.id)
	}
}

func (r *receiver) reply() {
	r.t.Helper()
	if r.owed != nil {
		r.send(r.owed)
	}
}

// sender publishes one message at QoS 2.
type sender struct {
	*client
	id, topic, payload string
	retain             bool
	published          bool // PUBLISH left
	received           bool // PUBREC came
	done               bool // PUBCOMP came
}

func (s *sender) connect(g *gateway) { s.client, _ = g.connect(persistent(version5, s.id)) }

func (s *sender) put() {
	s.publish(pub{topic: s.topic, payload: s.payload, id: 7, qos: qos2, dup: s.published, retain: s.retain})
	s.published = true
}

// hear takes the answers that come.
func (s *sender) hear() {
	for {
		kind, _, err := s.read(time.Second)
		switch {
		case err != nil:
			return
		case kind>>4 == byte(typePubrec):
			s.received = true
		case kind>>4 == byte(typePubcomp):
			s.done = true
		}
	}
}

func (s *sender) expectRec() { s.expectAck(typePubrec, 7); s.received = true }
func (s *sender) expectEnd() { s.expectAck(typePubcomp, 7); s.done = true }

// finish connects and does what is left to do.
func (s *sender) finish(g *gateway) {
	s.connect(g)
	if s.done {
		return
	}
	if !s.received {
		s.put()
		s.expectRec()
	}
	s.ack(typePubrel, 7)
	s.expectEnd()
}
