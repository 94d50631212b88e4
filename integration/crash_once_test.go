package integration

import (
	"bufio"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	mqttv5 "github.com/eclipse/paho.golang/paho"

	"tridge/integration/gateway"
)

// onceSubscriber is a 3.1.1 client that keeps its half of a session over connections: the packet identifiers of QoS 2
// messages that it has taken and that the gateway has not released (4.3.3).
type onceSubscriber struct {
	filter string
	ledger *ledger
	held   map[uint16]bool
	conn   raw
	in     *bufio.Reader
}

const onceTopic = "crash/deliver"

// connect takes the session up again, or makes it.
func (s *onceSubscriber) connect(t *testing.T, g *gateway.Process, present bool) {
	t.Helper()
	s.conn = dialRaw(t, g.MQTT())
	s.in = bufio.NewReader(s.conn)
	s.conn.say("\x10\x10\x00\x04MQTT\x04\x00\x00\x00\x00\x04once") // clean session 0, no keep-alive
	answer := make([]byte, 4)
	if _, err := io.ReadFull(s.in, answer); err != nil {
		t.Fatal(err)
	}
	if want := map[bool]string{false: "\x20\x02\x00\x00", true: "\x20\x02\x01\x00"}[present]; string(answer) != want {
		t.Fatalf("CONNECT was answered with %x", answer)
	}
	if present {
		return
	}
	n := byte(len(s.filter))
	s.conn.say(string([]byte{0x82, 5 + n, 0, 1, 0, n}), s.filter, "\x02")
	if _, err := io.ReadFull(s.in, append(answer, 0)); err != nil {
		t.Fatal(err)
	}
}

// serve takes messages until the connection ends, or until the end mark has come and every identifier is released.
func (s *onceSubscriber) serve(t *testing.T) {
	for ended := false; !ended || len(s.held) > 0; {
		first, rest, err := s.packet()
		if err != nil {
			return
		}
		switch first >> 4 {
		case 3: // PUBLISH
			at := 2 + len(onceTopic)
			if first&0x06 != 0x04 || len(rest) < at+2 {
				t.Errorf("instead of a PUBLISH at QoS 2 came %#x %.40q", first, rest)
				return
			}
			id, body := binary.BigEndian.Uint16(rest[at:]), rest[at+2:]
			if !s.held[id] {
				s.held[id] = true
				if ended = ended || string(body) == endMark; string(body) != endMark {
					s.ledger.arrived(t, body, "")
				}
			}
			s.conn.say("\x50\x02", string(rest[at:at+2]))
		case 6: // PUBREL
			delete(s.held, binary.BigEndian.Uint16(rest))
			s.conn.say("\x70\x02", string(rest))
		}
	}
}

// packet reads one packet.
func (s *onceSubscriber) packet() (first byte, rest []byte, err error) {
	if first, err = s.in.ReadByte(); err != nil {
		return 0, nil, err
	}
	size, err := binary.ReadUvarint(s.in) // a remaining length is written like one (2.2.3)
	if err != nil {
		return 0, nil, err
	}
	rest = make([]byte, size)
	_, err = io.ReadFull(s.in, rest)
	return first, rest, err
}

// TestCrashDeliversExactlyOnce kills the gateway while it delivers at QoS 2 to a client that keeps its half of the
// session: every confirmed message reaches it, and none twice.
func TestCrashDeliversExactlyOnce(t *testing.T) { deliverOnce(t, onceTopic) }

// TestCrashDeliversSharedExactlyOnce is the same with a shared subscription, whose messages move from its queue to the
// session that gets them.
func TestCrashDeliversSharedExactlyOnce(t *testing.T) { deliverOnce(t, "$share/crash/"+onceTopic) }

func deliverOnce(t *testing.T, filter string) {
	g := start(t)
	l := newLedger("crash.deliver")
	s := &onceSubscriber{filter: filter, ledger: l, held: map[uint16]bool{}}
	s.connect(t, g, false)
	for round := range rounds(t) {
		var all sync.WaitGroup
		all.Go(func() { s.serve(t) })
		for range 4 {
			c := newMQTT5(t, g, name("client"))
			all.Go(func() {
				publishUntilItDies(l, func(_ int, body []byte) error {
					return c.send(&mqttv5.Publish{Topic: onceTopic, QoS: 2, Payload: body})
				})
			})
		}
		time.Sleep(rand.N(200 * time.Millisecond))
		kill(t, g)
		all.Wait()
		t.Logf("round %d: %d identifiers held, %d messages delivered, %d confirmed and on their way", round, len(s.held),
			l.count(drained), l.count(confirmed))

		g = restart(t, g)
		s.connect(t, g, true)
		if err := newMQTT5(t, g, name("client")).send(&mqttv5.Publish{Topic: onceTopic, QoS: 2, Payload: []byte(endMark)}); err != nil {
			t.Fatal(err)
		}
		s.serve(t)
		l.settle(t)
		if len(s.held) > 0 {
			t.Errorf("round %d: %d identifiers are never released", round, len(s.held))
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	stop(t, g)
}
