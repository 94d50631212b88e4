package integration

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	pairs       = 20
	pairWindow  = 4   // PUBLISH packets of a publisher that are not finished
	pairLife    = 200 // packets after which a client cuts its connection, at most
	pairBlocked = 5 * time.Millisecond
)

// endpoint is one client of 3.1.1 that keeps its half of a session over connections, and cuts them at random.
type endpoint struct {
	t       *testing.T
	id      string
	address string
	promise bool // the gateway has answered something: its half of the session must be there
}

// connect takes the session up. It fails while the gateway is down.
func (e *endpoint) connect(ctx context.Context) (net.Conn, *bufio.Reader, bool, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", e.address)
	if err != nil {
		return nil, nil, false, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	in := bufio.NewReader(conn)
	body := append([]byte("\x00\x04MQTT\x04\x00\x00\x00\x00"), byte(len(e.id)))
	_, _ = conn.Write(append(append([]byte{0x10, byte(len(body) + len(e.id))}, body...), e.id...))
	answer := make([]byte, 4)
	if _, err := io.ReadFull(in, answer); err != nil {
		return conn, nil, false, err
	}
	if answer[0] != 0x20 || answer[3] != 0 {
		return conn, nil, false, fmt.Errorf("CONNECT was answered with %x", answer)
	}
	present := answer[2] == 1
	if e.promise && !present {
		e.t.Errorf("%s: the session is gone", e.id)
	}
	return conn, in, present, nil
}

// live connects again and again until serve says that all is done.
func (e *endpoint) live(ctx context.Context, serve func(conn net.Conn, in *bufio.Reader, present bool, life int) bool) {
	for done := false; !done; {
		if ctx.Err() != nil {
			e.t.Errorf("%s does not come to its end", e.id)
			return
		}
		conn, in, present, err := e.connect(ctx)
		if err == nil {
			done = serve(conn, in, present, 1+rand.N(pairLife))
		}
		if conn != nil {
			_ = conn.Close()
		}
		if err != nil {
			time.Sleep(pairBlocked) // there is nothing to wait for while nobody listens
		}
	}
}

// pairPublisher publishes numbers, in order.
type pairPublisher struct {
	endpoint
	topic    string
	qos      byte
	ending   *atomic.Bool
	count    int // numbers published
	nextID   uint16
	inflight []pairPublish
	total    chan int // count, when all is confirmed
}

type pairPublish struct {
	id       uint16
	number   int
	released bool
}

func (p *pairPublisher) packet(m pairPublish, dup bool) []byte {
	if m.released {
		return []byte{0x62, 2, byte(m.id >> 8), byte(m.id)}
	}
	text := strconv.Itoa(m.number)
	first := 0x30 | p.qos<<1
	if dup {
		first |= 8
	}
	b := []byte{first, byte(4 + len(p.topic) + len(text)), 0, byte(len(p.topic))}
	b = binary.BigEndian.AppendUint16(append(b, p.topic...), m.id)
	return append(b, text...)
}

func (p *pairPublisher) serve(conn net.Conn, in *bufio.Reader, _ bool, life int) bool {
	for _, m := range p.inflight {
		_, _ = conn.Write(p.packet(m, true))
	}
	for ; life > 0; life-- {
		for len(p.inflight) < pairWindow && !p.ending.Load() {
			p.count++
			p.nextID = max(p.nextID+1, 1)
			p.inflight = append(p.inflight, pairPublish{id: p.nextID, number: p.count})
			_, _ = conn.Write(p.packet(p.inflight[len(p.inflight)-1], false))
		}
		if len(p.inflight) == 0 {
			p.total <- p.count
			return true
		}
		first, rest, err := readPacket(in)
		if err != nil {
			return false
		}
		p.promise = true
		p.answered(conn, first, binary.BigEndian.Uint16(rest))
	}
	return false
}

// answered handles PUBACK, PUBREC and PUBCOMP.
func (p *pairPublisher) answered(conn net.Conn, first byte, id uint16) {
	for i := range p.inflight {
		m := &p.inflight[i]
		switch {
		case m.id != id:
			continue
		case first == 0x50:
			m.released = true
			_, _ = conn.Write(p.packet(*m, false))
		default:
			p.inflight = append(p.inflight[:i], p.inflight[i+1:]...)
		}
		return
	}
	if first == 0x50 { // of a PUBLISH sent twice that is finished
		_, _ = conn.Write([]byte{0x62, 2, byte(id >> 8), byte(id)})
	}
}

// pairSubscriber takes the numbers of one publisher.
type pairSubscriber struct {
	endpoint
	topic string
	qos   byte
	ready chan struct{} // closed by SUBACK
	total chan int
	held  map[uint16]bool
	seen  map[int]bool // QoS 1
	last  int          // the highest number in a row from 1
	all   int          // 0 until the publisher has ended
}

func (s *pairSubscriber) serve(conn net.Conn, in *bufio.Reader, present bool, life int) bool {
	if !s.promise {
		if !present {
			s.held = map[uint16]bool{}
		}
		_, _ = conn.Write(append(append([]byte{0x82, byte(5 + len(s.topic)), 0, 1, 0, byte(len(s.topic))}, s.topic...), s.qos))
	}
	for ; life > 0 || s.all > 0; life-- {
		if s.all == 0 {
			select {
			case s.all = <-s.total:
			default:
			}
		}
		if s.all > 0 && s.last == s.all && len(s.held) == 0 {
			return true
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // to look at total again
		first, rest, err := readPacket(in)
		if failed, ok := errors.AsType[net.Error](err); ok && failed.Timeout() {
			continue
		}
		if err != nil {
			return false
		}
		switch first >> 4 {
		case 9:
			s.promise = true
			close(s.ready)
		case 3:
			s.take(conn, rest)
		case 6:
			delete(s.held, binary.BigEndian.Uint16(rest))
			_, _ = conn.Write([]byte{0x70, 2, rest[0], rest[1]})
		}
	}
	return false
}

func (s *pairSubscriber) take(conn net.Conn, rest []byte) {
	at := 2 + len(s.topic)
	id := binary.BigEndian.Uint16(rest[at:])
	number, err := strconv.Atoi(string(rest[at+2:]))
	if err != nil {
		s.t.Errorf("%s: message %.40q", s.id, rest)
	}
	if s.qos == 1 {
		s.seen[number] = true
		for ; s.seen[s.last+1]; s.last++ {
			delete(s.seen, s.last+1)
		}
		_, _ = conn.Write([]byte{0x40, 2, rest[at], rest[at+1]})
		return
	}
	if s.held[id] && number > s.last {
		s.t.Errorf("%s: number %d under identifier %d, which is held, after %d", s.id, number, id, s.last)
	}
	if !s.held[id] {
		s.held[id] = true
		if number != s.last+1 {
			s.t.Errorf("%s: number %d under identifier %d after %d, held %v", s.id, number, id, s.last, s.held)
		}
		s.last = number
	}
	_, _ = conn.Write([]byte{0x50, 2, rest[at], rest[at+1]})
}

// readPacket reads one packet.
func readPacket(in *bufio.Reader) (first byte, rest []byte, err error) {
	if first, err = in.ReadByte(); err != nil {
		return 0, nil, err
	}
	size, err := binary.ReadUvarint(in) // a remaining length is written like one (2.2.3)
	if err != nil {
		return 0, nil, err
	}
	rest = make([]byte, size)
	_, err = io.ReadFull(in, rest)
	return first, rest, err
}

// TestCrashKeepsPairsExactlyOnce has twenty publishers and twenty subscribers at QoS 2 cut their connections at random
// while the gateway is killed: every number arrives exactly once and in order.
func TestCrashKeepsPairsExactlyOnce(t *testing.T) { crashPairs(t, 2) }

// TestCrashKeepsPairsAtLeastOnce is the same at QoS 1: none is lost.
func TestCrashKeepsPairsAtLeastOnce(t *testing.T) { crashPairs(t, 1) }

func crashPairs(t *testing.T, qos byte) {
	g := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rounds(t))*patience+10*patience)
	defer cancel()
	var all sync.WaitGroup
	var ending atomic.Bool
	subscribers := make([]*pairSubscriber, pairs)
	for i := range subscribers {
		s := &pairSubscriber{endpoint: endpoint{t: t, id: fmt.Sprintf("subscriber-%d", i), address: g.MQTT()}, qos: qos,
			topic: fmt.Sprintf("pair/%d", i), ready: make(chan struct{}), total: make(chan int, 1), held: map[uint16]bool{}, seen: map[int]bool{}}
		subscribers[i] = s
		all.Go(func() { s.live(ctx, s.serve) })
	}
	for i, s := range subscribers {
		<-s.ready
		p := &pairPublisher{endpoint: endpoint{t: t, id: fmt.Sprintf("publisher-%d", i), address: g.MQTT()}, qos: qos,
			topic: s.topic, ending: &ending, total: s.total}
		all.Go(func() { p.live(ctx, p.serve) })
	}
	for range rounds(t) {
		time.Sleep(rand.N(600 * time.Millisecond)) // a crash may come at any time
		kill(t, g)
		g = restart(t, g)
	}
	ending.Store(true)
	all.Wait()
	delivered := 0
	for _, s := range subscribers {
		delivered += s.last
	}
	t.Logf("%d messages, %d crashes", delivered, rounds(t))
	if delivered < pairs {
		t.Error("hardly a message was delivered")
	}
	stop(t, g)
}
