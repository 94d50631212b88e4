package main

import (
	"sync"
	"time"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
)

// appender is the part of the log that is measured.
type appender interface {
	Append(m *message.Message, queues []uint32, rows ...queue.Row) (queue.Pos, confirm.Receipt, error)
}

// publisher appends as fast as its window lets it. It is the sink of its own tickets.
type publisher struct {
	// immutable
	log    appender
	m      *message.Message
	queues []uint32
	window uint64
	every  uint64 // one message in so many is timed

	began []time.Time // of the timed messages under way; written before the append, read after the confirm

	// guarded by mu
	mu        sync.Mutex
	room      sync.Cond
	confirmed uint64
	took      []time.Duration
	stopped   bool
	err       error
}

// timedEvery keeps the clock from being what is measured when the window is large.
const timedEvery = 16

func newPublisher(log appender, s shape, index int) *publisher {
	p := &publisher{
		log:    log,
		m:      &message.Message{Exchange: "amq.topic", Key: "a.b", Body: make([]byte, s.size), Guarantee: message.AtLeastOnce},
		queues: []uint32{uint32(index + 1)},
		window: uint64(s.window),
		every:  1,
	}
	for i := range p.m.Body {
		p.m.Body[i] = byte(i * 7)
	}
	if s.window >= timedEvery {
		p.every = timedEvery
	}
	p.began = make([]time.Time, p.window/p.every+1)
	p.room.L = &p.mu
	return p
}

// Confirmed implements confirm.Sink.
func (p *publisher) Confirmed(first, last uint64, err error) {
	now := time.Now()
	p.mu.Lock()
	for seq := (first + p.every - 1) / p.every * p.every; seq <= last; seq += p.every {
		p.took = append(p.took, now.Sub(p.began[seq/p.every%uint64(len(p.began))]))
	}
	p.confirmed = last
	if p.err == nil {
		p.err = err
	}
	p.mu.Unlock()
	p.room.Signal()
}

// publish runs until stop.
func (p *publisher) publish() error {
	for seq := uint64(0); ; {
		limit, err := p.upTo(seq)
		if limit == seq || err != nil {
			return err
		}
		for seq < limit {
			seq++
			if seq%p.every == 0 {
				p.began[seq/p.every%uint64(len(p.began))] = time.Now()
			}
			_, receipt, err := p.log.Append(p.m, p.queues)
			if err != nil {
				return err
			}
			receipt.Redeem(confirm.Ticket{To: p, Seq: seq})
		}
	}
}

// upTo waits for room and returns the number of the last message that may be sent, seq itself when all is confirmed
// and the publisher has been stopped.
func (p *publisher) upTo(seq uint64) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.err == nil && (p.stopped && p.confirmed < seq || !p.stopped && p.confirmed+p.window == seq) {
		p.room.Wait()
	}
	if p.stopped {
		return seq, p.err
	}
	return p.confirmed + p.window, p.err
}

func (p *publisher) stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.room.Signal()
}

// reading is what a publisher has got so far.
type reading struct {
	confirmed uint64
	timed     int
}

func (p *publisher) read() reading {
	p.mu.Lock()
	defer p.mu.Unlock()
	return reading{p.confirmed, len(p.took)}
}

// nothing is a log that confirms a whole window at once and does nothing else. Each publisher has its own.
type nothing struct{ window, waiting uint64 }

func (n *nothing) Append(*message.Message, []uint32, ...queue.Row) (queue.Pos, confirm.Receipt, error) {
	return queue.Pos{}, confirm.Receipt{By: n}, nil
}

// AfterSync implements confirm.Syncer.
func (n *nothing) AfterSync(_ uint64, t confirm.Ticket) {
	if n.waiting++; n.waiting == n.window {
		n.waiting = 0
		t.To.Confirmed(t.Seq-n.window+1, t.Seq, nil)
	}
}
