package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

// bottomless is a log that forgets: every message can be read, and is the same.
type bottomless struct {
	queue.Log
	body *message.Message
}

func (l bottomless) Ack(uint32, []queue.Pos) (confirm.Receipt, error) { return confirm.Receipt{}, nil }

func (l bottomless) Read(queue.Pos) (*message.Message, error) { return l.body, nil }

func (l bottomless) Delivered(*queue.Mark) {}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// TestDeepQueueKeepsWithinItsMemory puts a hundred times what the memory is for, with bodies that have room: with a pager
// that keeps up as it can, and with one that does not before the end.
func TestDeepQueueKeepsWithinItsMemory(t *testing.T) {
	for name, late := range map[string]bool{"keeps up": false, "late": true} {
		t.Run(name, func(t *testing.T) { fillAndDrain(t, late) })
	}
}

func fillAndDrain(t *testing.T, late bool) {
	const memory, messages = 64 << 10, 100_000
	pager, file := newPager(t, queue.PagerOptions{Memory: memory})
	if !late {
		runPager(t, pager)
	}
	log := bottomless{body: durable("body")}
	q := queue.New("q", 1, log, queue.Options{Pager: pager, Bodies: queue.NewBudget(1 << 30)})
	for i := range uint64(messages) {
		if err := q.Put(log.body, queue.Pos{Seq: i + 1, Segment: 1, Offset: uint32(i) * 100, Size: 100}); err != nil {
			t.Fatal(err)
		}
		if used := pager.Stats().Used; used > 2*memory {
			t.Fatalf("%d bytes of positions in memory after %d messages", used, i)
		}
	}
	if late {
		runPager(t, pager)
	}
	eventually(t, "pages are not written", func() bool { s := pager.Stats(); return s.Waiting == 0 && s.Used <= s.Limit })
	file.mu.Lock()
	size := len(file.data)
	file.mu.Unlock()

	if size > 10*messages || size < messages {
		t.Errorf("%d bytes in the file", size)
	}
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := make([]queue.Delivery, 100)
	for next := uint64(1); next <= messages; {
		n, err := s.Take(ds)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		for _, d := range ds[:n] {
			if d.ID != next {
				t.Fatalf("message %d comes as number %d", d.ID, next)
			}
			next++
		}
		settle(t, s, ds[:n], queue.Ack)
	}
	if got := pager.Stats(); got.Read < messages/300 {
		t.Errorf("afterwards %+v", got)
	}
	// A page that left memory meanwhile may be on its way to the file.
	eventually(t, "space is not given back", func() bool { return pager.Stats().Space == 0 })
}

// TestPagesOfManyQueuesFillTheirSpace has messages come to many queues in turn while memory is short, which is what costs
// most of the scratch file.
func TestPagesOfManyQueuesFillTheirSpace(t *testing.T) {
	const queues, each = 100, 200
	pager, _ := newPager(t, queue.PagerOptions{})
	log := bottomless{body: durable("body")}
	laws := queue.NewLaws(log, queue.Options{Pager: pager})
	var list []*queue.Local
	for i := range queues {
		list = append(list, laws.Queue(fmt.Sprint(i), uint32(i+1)))
	}
	for i := range uint64(queues * each) {
		if err := list[i%queues].Put(log.body, queue.Pos{Seq: i + 1, Segment: 1, Offset: uint32(i) * 100, Size: 100}); err != nil {
			t.Fatal(err)
		}
	}
	runPager(t, pager)
	eventually(t, "pages are not written", func() bool { return pager.Stats().Waiting == 0 })
	s := pager.Stats()
	if s.Space > 8*queues*each || s.Written == 0 {
		t.Errorf("%d messages: %+v", queues*each, s)
	}
}

// TestIdleQueuesLeaveMemory has many queues with few messages, which come in turn.
func TestIdleQueuesLeaveMemory(t *testing.T) {
	pager, _ := paging(t, queue.PagerOptions{Memory: 64 << 10})
	log := queuetest.NewLog()
	var queues []*queue.Local
	for i := range 500 {
		queues = append(queues, queue.New(fmt.Sprint(i), uint32(i+1), log, queue.Options{Pager: pager}))
	}
	for round := range 10 {
		for _, q := range queues {
			put(t, q, log, fmt.Sprint(round))
		}
	}
	eventually(t, "positions do not leave memory", func() bool { s := pager.Stats(); return s.Used <= s.Limit })
	for _, q := range queues {
		s, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true})
		expect(t, take(t, s, 20), "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
		if _, err := q.Close(queue.Condition{}); err != nil {
			t.Fatal(err)
		}
		if _, err := q.Discard(); err != nil {
			t.Fatal(err)
		}
	}
	if got := pager.Stats(); got.Used != 0 {
		t.Errorf("queues that are gone hold %d bytes", got.Used)
	}
}

func TestTransientMessagesDoNotKeepThePagerBusy(t *testing.T) {
	pager, _ := paging(t, queue.PagerOptions{Memory: 4 << 10})
	q := queue.New("q", 0, nil, queue.Options{Pager: pager})
	for i := range 10_000 {
		if err := q.Put(&message.Message{Body: []byte(fmt.Sprint(i))}, queue.Pos{}); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := take(t, s, 20_000)
	for i, d := range ds {
		if string(d.Message.Body) != fmt.Sprint(i) || len(ds) != 10_000 {
			t.Fatalf("number %d of %d is %q", i, len(ds), d.Message.Body)
		}
	}
}

func TestPagesThatCannotBeWrittenStayInMemory(t *testing.T) {
	file, text := &scratchFile{}, &bytes.Buffer{}
	file.fail(nil, errors.New("no space"))
	pager, _ := paging(t, queue.PagerOptions{File: file, Slog: slog.New(slog.NewTextHandler(text, nil))})
	log := queuetest.NewLog()
	q := queue.New("q", 1, log, queue.Options{Pager: pager})
	var want []string
	for i := range 1000 {
		want = append(want, fmt.Sprint(i))
	}
	put(t, q, log, want[:500]...)
	eventually(t, "no attempt to write", func() bool { return pager.Stats().Failed > 0 })
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	expect(t, take(t, s, 250), want[:250]...)
	file.fail(nil, nil)
	put(t, q, log, want[500:]...)
	eventually(t, "not written when there is space again", func() bool { s := pager.Stats(); return s.Waiting == 0 && s.Written > 0 })
	expect(t, take(t, s, 1000), want[250:]...)
	if n := strings.Count(text.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, text)
	}
}

func TestPageThatCannotBeReadEndsTheProcess(t *testing.T) {
	for _, damage := range []struct {
		name string
		do   func(*scratchFile)
	}{
		{"read error", func(f *scratchFile) { f.fail(errors.New("input/output error"), nil) }},
		{"other bytes", func(f *scratchFile) {
			f.mu.Lock()
			clear(f.data)
			f.mu.Unlock()
		}},
	} {
		t.Run(damage.name, func(t *testing.T) {
			var fatal []error
			pager, file := paging(t, queue.PagerOptions{Fatal: func(err error) { fatal = append(fatal, err) }})
			log := queuetest.NewLog()
			q := queue.New("q", 1, log, queue.Options{Pager: pager})
			for range 200 {
				put(t, q, log, "m")
			}
			eventually(t, "not written", func() bool { s := pager.Stats(); return s.Waiting == 0 && s.Used == 0 && s.Written > 0 })
			damage.do(file)
			s, _ := subscribe(t, q, queue.SubscribeOptions{})
			if n, err := s.Take(make([]queue.Delivery, 10)); n != 0 || err == nil || len(fatal) == 0 {
				t.Errorf("took %d, %v; the process ended %d times", n, err, len(fatal))
			}
			if log.Living() != 200 {
				t.Errorf("%d messages left in the log", log.Living())
			}
		})
	}
}

func TestPositionsNeededAfterThePagerHasClosedEndNoProcess(t *testing.T) {
	pager, file := paging(t, queue.PagerOptions{})
	log := queuetest.NewLog()
	q := queue.New("q", 1, log, queue.Options{Pager: pager})
	for range 200 {
		put(t, q, log, "m")
	}
	eventually(t, "not written", func() bool { s := pager.Stats(); return s.Waiting == 0 && s.Used == 0 && s.Written > 0 })
	pager.Close()
	file.fail(errors.New("file already closed"), nil)
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	if n, err := s.Take(make([]queue.Delivery, 10)); n != 0 || !errors.Is(err, queue.ErrClosed) {
		t.Errorf("took %d, %v", n, err)
	}
}

// TestEverythingAtOnce has publishers, consumers that requeue and reject, a selective one, purges, expiry and the pager
// work on one queue. In the end every message has left it exactly once.
func TestEverythingAtOnce(t *testing.T) {
	const publishers, each = 3, 2000
	pager, _ := paging(t, queue.PagerOptions{Memory: 8 << 10})
	clock := queue.NewClock(func(_ string, err error) { t.Error(err) })
	ctx, cancel := context.WithCancel(t.Context())
	var background, working sync.WaitGroup
	background.Go(func() { clock.Run(ctx) })
	log := queuetest.NewLog()
	q := queue.New("q", 1, log, queue.Options{Pager: pager, Clock: clock, MaxLength: queue.AtMost(1500), MaxPriority: 1, Bodies: queue.NewBudget(4 << 10)})
	var mu sync.Mutex
	acked := map[string]bool{}
	for p := range publishers {
		working.Go(func() {
			for i := range each {
				m := durable(fmt.Sprint(p, "-", i))
				m.Time, m.Priority = time.Now().UnixMilli(), uint8(i%2)
				if i%5 == 0 {
					m.Expires = m.Time + int64(i%50)
				}
				at, _, err := log.Append(m, []uint32{1})
				if err == nil {
					err = q.Put(m, at)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	published := make(chan struct{})
	consume := func(o queue.SubscribeOptions, most int) {
		s, err := q.Subscribe(&silent{}, o)
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		for round := 0; ; round++ {
			ds := make([]queue.Delivery, 1+round%most)
			last := false
			select {
			case <-published:
				last = true
			default:
			}
			n, err := s.Take(ds)
			if err != nil {
				t.Error(err)
				return
			}
			if n == 0 && last {
				return
			}
			how := queue.Ack
			if !last {
				how = []queue.Outcome{queue.Ack, queue.Requeue, queue.Release, queue.Ack, queue.Reject}[round%5]
			}
			if how == queue.Ack {
				mu.Lock()
				for _, d := range ds[:n] {
					if acked[string(d.Message.Body)] {
						t.Errorf("%s came again after its acknowledgement", d.Message.Body)
					}
					acked[string(d.Message.Body)] = true
				}
				mu.Unlock()
			}
			if _, err := s.Settle(ds[:n], how); err != nil {
				t.Error(err)
			}
		}
	}
	background.Go(func() { consume(queue.SubscribeOptions{}, 300) })
	background.Go(func() { consume(queue.SubscribeOptions{}, 7) })
	background.Go(func() {
		consume(queue.SubscribeOptions{Match: func(m *message.Message) bool { return m.Body[len(m.Body)-1] == '7' }}, 3)
	})
	working.Go(func() {
		// A purge that comes before any consumer leaves nothing to consume.
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			mu.Lock()
			begun := len(acked) > 0
			mu.Unlock()
			if begun {
				break
			}
		}
		for range 20 {
			if _, _, err := q.Purge(); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Millisecond) // or there is nothing to consume
		}
	})
	working.Wait()
	close(published)
	eventually(t, "messages are left", func() bool { s := q.Stats(); return s.Ready == 0 && s.Unacked == 0 })
	cancel()
	background.Wait()
	if got := q.Stats(); log.Living() != 0 || got.Published != publishers*each || len(acked) == 0 {
		t.Errorf("%d references left, %d acknowledged, %+v", log.Living(), len(acked), got)
	}
}

// silent is a waker for consumers that ask again and again.
type silent struct{}

func (*silent) Wake() {}
