package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tridge/integration/gateway"
)

// figures are what a workload costs.
type figures struct {
	rate float64 // messages per second
	cpu  float64 // microseconds of the gateway's user and system time per message

	objects, bytes float64 // allocated by the gateway per message
}

// stampSize is the part of a body that says whose message it is and which: two numbers of eight bytes.
const stampSize = 16

// load is one run of a workload.
type load struct {
	size      int
	from, to  int   // producers and consumers
	copies    int32 // deliveries of each message
	producers []*producer
	consumers []*consumer
	arrivals  []atomic.Int32 // in a fan-out: deliveries of the messages under way, by number modulo its length
	windows   []*credit      // by producer
	ledgers   []*ledger      // by consumer
	received  atomic.Uint64
	ending    atomic.Bool // connections are closed
	failure   chan error
}

// measure runs one workload against a gateway of its own.
func measure(ctx context.Context, w workload, o options, data string, stderr io.Writer) (f figures, err error) {
	if err := os.RemoveAll(data); err != nil {
		return f, err
	}
	g, err := gateway.Start(gateway.Options{Binary: o.binary, Data: data})
	if err != nil {
		return f, err
	}
	defer func() {
		if stopped := g.Stop(); err == nil {
			err = stopped
		}
		if o.verbose || err != nil {
			fmt.Fprint(stderr, g.Log())
		}
	}()
	if !w.paired {
		if err := prepare(g, w.durable); err != nil {
			return f, err
		}
	}
	l := &load{size: o.size, from: w.producers(), to: w.consumers(), copies: 1, failure: make(chan error, w.producers()*2+w.consumers())}
	if w.fanOut {
		l.copies, l.arrivals = int32(w.consumers()), make([]atomic.Int32, fanOutLag)
	}
	if err := l.open(w, g); err != nil {
		return f, err
	}
	var all sync.WaitGroup
	l.start(&all)
	defer func() {
		l.close()
		all.Wait()
	}()
	if err := l.pass(ctx, o.warmUp); err != nil {
		return f, err
	}
	objects, bytes, err := g.Allocations()
	if err != nil {
		return f, err
	}
	cpu, err := g.CPU()
	if err != nil {
		return f, err
	}
	begun, before := time.Now(), l.received.Load()
	if o.profiles != "" {
		file := filepath.Join(o.profiles, strings.Map(fileName, w.name)+fmt.Sprint("-", o.size)+".pprof")
		all.Go(func() { l.fail(g.Profile(int(max(o.duration/time.Second, 1)), file)) })
	}
	if err := l.pass(ctx, o.duration); err != nil {
		return f, err
	}
	took, messages := time.Since(begun), l.received.Load()-before
	after, err := g.CPU()
	if err != nil {
		return f, err
	}
	moreObjects, moreBytes, err := g.Allocations()
	if err != nil {
		return f, err
	}
	if messages == 0 {
		return f, errors.New("no message arrived")
	}
	f.objects, f.bytes = float64(moreObjects-objects)/float64(messages), float64(moreBytes-bytes)/float64(messages)
	f.rate = float64(messages) / took.Seconds()
	f.cpu = float64((after - cpu).Microseconds()) / float64(messages)
	return f, l.verify(ctx)
}

// fileName leaves of a name what is good in that of a file.
func fileName(r rune) rune {
	if r == ' ' || r == ',' {
		return '-'
	}
	return r
}

func (l *load) open(w workload, g *gateway.Process) error {
	for i := range w.consumers() {
		c, err := w.consumer(g, i)
		if err != nil {
			return fmt.Errorf("consumer: %w", err)
		}
		l.consumers = append(l.consumers, c)
		l.ledgers = append(l.ledgers, newLedger(w.producers(), !w.fanOut))
	}
	for i := range w.producers() {
		p, err := w.producer(g, i)
		if err != nil {
			return fmt.Errorf("producer: %w", err)
		}
		limit := uint64(lag * producers / max(producers, w.producers()))
		if l.confirmed(p) {
			limit = window
		}
		if w.fanOut {
			limit = fanOutLag
		}
		l.producers = append(l.producers, p)
		l.windows = append(l.windows, newCredit(limit))
	}
	return nil
}

// confirmed reports whether the confirms give a producer its credit. Where many send to few the consumers do, because else
// all that is measured is how a queue grows.
func (l *load) confirmed(p *producer) bool {
	return p.confirms && l.copies == 1 && l.from <= l.to
}

func (l *load) start(all *sync.WaitGroup) {
	for i, c := range l.consumers {
		all.Go(func() { l.fail(l.consume(c, l.ledgers[i])) })
	}
	for i, p := range l.producers {
		all.Go(func() { l.fail(l.produce(p, i)) })
		if p.confirms {
			w := l.windows[i]
			if !l.confirmed(p) {
				w = newCredit(math.MaxUint64)
			}
			all.Go(func() { l.fail(l.confirm(p, w)) })
		}
	}
}

// fail keeps an error, unless it comes of closing the connections.
func (l *load) fail(err error) {
	if err != nil && !l.ending.Load() {
		l.failure <- err
	}
}

func (l *load) pass(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case err := <-l.failure:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// batch is the most messages that are written at once, so that a window is not sent as one burst.
const batch = 64

func (l *load) produce(p *producer, index int) error {
	return produce(p, l.windows[index], index, l.size, math.MaxUint64)
}

// produce sends so many messages, each with the producer's index and its own number, until its window is stopped.
func produce(p *producer, w *credit, index, size int, messages uint64) error {
	body := make([]byte, size)
	for i := range body {
		body[i] = 'a' + byte(i%26)
	}
	binary.BigEndian.PutUint64(body, uint64(index))
	var out []byte
	for n := uint64(0); n < messages; {
		room, open := w.take(min(batch, messages-n))
		if !open {
			return nil
		}
		out = out[:0]
		for range room {
			n++
			binary.BigEndian.PutUint64(body[8:], n)
			out = p.message(out, n, body)
		}
		if _, err := p.conn.Write(out); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) confirm(p *producer, w *credit) error { return confirm(p, w, math.MaxUint64) }

// confirm reads the answers to so many messages.
func confirm(p *producer, w *credit, messages uint64) error {
	for total := uint64(0); total < messages; {
		next, err := p.confirmed(p.in, total)
		if err != nil {
			return err
		}
		w.give(next - total)
		total = next
	}
	return nil
}

// acknowledgeAt is the most messages a consumer acknowledges at once.
const acknowledgeAt = 64

func (l *load) consume(c *consumer, seen *ledger) error {
	var out []byte
	for waiting := 0; ; {
		body, err := c.next(c.in)
		if err != nil {
			return err
		}
		from, n, err := seen.note(body, l.size)
		if err != nil {
			return err
		}
		l.received.Add(1)
		switch {
		case l.copies > 1:
			if a := &l.arrivals[n%fanOutLag]; a.Add(1) == l.copies { // before the next message with its place is sent
				a.Store(0)
				l.windows[from].give(1)
			}
		case !l.confirmed(l.producers[from]):
			l.windows[from].give(1)
		}
		if c.acknowledge == nil {
			continue
		}
		if waiting++; waiting == acknowledgeAt || c.in.Buffered() == 0 {
			out, waiting = c.acknowledge(out[:0]), 0
			if _, err := c.conn.Write(out); err != nil {
				return err
			}
		}
	}
}

// verify stops the producers, waits for the rest, and checks that every message arrived once.
func (l *load) verify(ctx context.Context) error {
	sent := uint64(0)
	for _, w := range l.windows {
		sent += w.stop() * uint64(l.copies)
	}
	for deadline := time.Now().Add(30 * time.Second); l.received.Load() < sent; {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d messages arrived", l.received.Load(), sent)
		}
		if err := l.pass(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	if got := l.received.Load(); got != sent {
		return fmt.Errorf("%d messages arrived of %d sent", got, sent)
	}
	if l.copies > 1 { // each has seen every number once, because none came out of order
		return nil
	}
	return disjoint(l.ledgers)
}

func (l *load) close() {
	l.ending.Store(true)
	for _, w := range l.windows {
		w.stop()
	}
	for _, p := range l.producers {
		_ = p.conn.Close()
	}
	for _, c := range l.consumers {
		_ = c.conn.Close()
	}
}

// credit is how many messages a producer may have under way.
type credit struct {
	limit uint64

	// guarded by mu
	mu      sync.Mutex
	room    sync.Cond
	taken   uint64
	given   uint64
	stopped bool
}

func newCredit(limit uint64) *credit {
	c := &credit{limit: limit}
	c.room.L = &c.mu
	return c
}

// take waits for room and takes at most n of it; false when the producer is to stop.
func (c *credit) take(n uint64) (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.taken-c.given == c.limit && !c.stopped {
		c.room.Wait()
	}
	if c.stopped {
		return 0, false
	}
	n = min(n, c.limit-(c.taken-c.given))
	c.taken += n
	return n, true
}

func (c *credit) give(n uint64) {
	c.mu.Lock()
	c.given += n
	c.mu.Unlock()
	c.room.Signal()
}

// stop ends the producer after what it has taken, which is returned.
func (c *credit) stop() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	c.room.Signal()
	return c.taken
}

// ledger is what one consumer has seen: a bit per message of each producer, where what others see is to be compared.
type ledger struct {
	seen [][]uint64
	last []uint64
}

func newLedger(producers int, compared bool) *ledger {
	l := &ledger{last: make([]uint64, producers)}
	if compared {
		l.seen = make([][]uint64, producers)
	}
	return l
}

// note checks one body and returns whose it is, and which.
func (l *ledger) note(body []byte, size int) (from int, n uint64, err error) {
	if len(body) != size {
		return 0, 0, fmt.Errorf("a body of %d bytes arrived", len(body))
	}
	from, n = int(binary.BigEndian.Uint64(body)), binary.BigEndian.Uint64(body[8:])
	if from < 0 || from >= len(l.last) {
		return 0, 0, errors.New("a message that nobody sent")
	}
	if n <= l.last[from] {
		return 0, 0, fmt.Errorf("message %d of producer %d came after message %d", n, from, l.last[from])
	}
	l.last[from] = n
	if l.seen == nil {
		return from, n, nil
	}
	for uint64(len(l.seen[from])) <= n/64 {
		l.seen[from] = append(l.seen[from], 0)
	}
	l.seen[from][n/64] |= 1 << (n % 64)
	return from, n, nil
}

// disjoint checks that no message was seen twice. That none is missing follows from their number.
func disjoint(ledgers []*ledger) error {
	for from := range ledgers[0].last {
		var union []uint64
		for _, l := range ledgers {
			for i, word := range l.seen[from] {
				if i == len(union) {
					union = append(union, 0)
				}
				if twice := union[i] & word; twice != 0 {
					return fmt.Errorf("message %d of producer %d came twice", i*64+bits.TrailingZeros64(twice), from)
				}
				union[i] |= word
			}
		}
	}
	return nil
}

// hear reads n bytes that are valid until the next read.
func hear(in *bufio.Reader, n int, scratch *[]byte) ([]byte, error) {
	if n <= in.Size() {
		data, err := in.Peek(n)
		if err != nil {
			return nil, err
		}
		_, err = in.Discard(n) // the bytes stay in the buffer until the next read
		return data, err
	}
	if cap(*scratch) < n {
		*scratch = make([]byte, n)
	}
	_, err := io.ReadFull(in, (*scratch)[:n])
	return (*scratch)[:n], err
}
