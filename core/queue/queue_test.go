package queue_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

// waker counts wakes.
type waker struct{ wakes int }

func (w *waker) Wake() { w.wakes++ }

func durable(body string) *message.Message {
	return &message.Message{Body: []byte(body), Guarantee: message.AtLeastOnce}
}

func put(t *testing.T, q *queue.Local, log *queuetest.Log, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		m := durable(body)
		at, _, err := log.Append(m, []uint32{q.ID()})
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Put(m, at); err != nil {
			t.Fatal(err)
		}
	}
}

func subscribe(t *testing.T, q *queue.Local, o queue.SubscribeOptions) (*queue.Subscription, *waker) {
	t.Helper()
	w := &waker{}
	s, err := q.Subscribe(w, o)
	if err != nil {
		t.Fatal(err)
	}
	return s, w
}

func take(t *testing.T, s *queue.Subscription, n int) []queue.Delivery {
	t.Helper()
	ds := make([]queue.Delivery, n)
	got, err := s.Take(ds)
	if err != nil {
		t.Fatal(err)
	}
	return ds[:got]
}

func bodies(ds []queue.Delivery) (list []string) {
	for _, d := range ds {
		list = append(list, string(d.Message.Body))
	}
	return list
}

func expect(t *testing.T, ds []queue.Delivery, want ...string) {
	t.Helper()
	if got := bodies(ds); !slices.Equal(got, want) {
		t.Fatalf("took %q, want %q", got, want)
	}
}

func settle(t *testing.T, s *queue.Subscription, ds []queue.Delivery, how queue.Outcome) {
	t.Helper()
	if _, err := s.Settle(ds, how); err != nil {
		t.Fatal(err)
	}
}

func TestRequeueKeepsOrder(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	put(t, q, log, "a", "b", "c", "d", "e")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := take(t, s, 4)
	settle(t, s, ds[1:2], queue.Requeue)
	settle(t, s, ds[3:4], queue.Release)
	settle(t, s, ds[0:1], queue.Requeue)
	again := take(t, s, 10)
	expect(t, again, "a", "b", "d", "e")
	for i, attempts := range []uint16{1, 1, 0, 0} {
		if again[i].Attempts != attempts {
			t.Errorf("%s: %d attempts, want %d", again[i].Message.Body, again[i].Attempts, attempts)
		}
	}
	if again[0].ID != ds[0].ID {
		t.Errorf("the same message has another id at its second attempt: %d, %d", ds[0].ID, again[0].ID)
	}
}

func TestAckReachesTheLogAndOnlyThen(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	put(t, q, log, "a", "b")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := take(t, s, 2)
	if log.Living() != 2 {
		t.Fatalf("%d living references while out with a consumer", log.Living())
	}
	settle(t, s, ds[:1], queue.Ack)
	if log.Needs(1, ds[0].Pos()) || !log.Needs(1, ds[1].Pos()) {
		t.Error("the log does not have exactly the acknowledged one as done")
	}
	if got := q.Stats(); got.Ready != 0 || got.Unacked != 1 || got.Acked != 1 {
		t.Errorf("stats %+v", got)
	}
}

func TestEmptyTakeIsWokenOnce(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	s, w := subscribe(t, q, queue.SubscribeOptions{})
	expect(t, take(t, s, 5))
	put(t, q, log, "a", "b")
	if w.wakes != 1 {
		t.Fatalf("%d wakes for one empty take", w.wakes)
	}
	expect(t, take(t, s, 5), "a", "b")
}

func TestWakePassesOnWhenDeclined(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	first, w1 := subscribe(t, q, queue.SubscribeOptions{})
	second, w2 := subscribe(t, q, queue.SubscribeOptions{})
	expect(t, take(t, first, 1))
	expect(t, take(t, second, 1))
	put(t, q, log, "a")
	if w1.wakes != 1 || w2.wakes != 0 {
		t.Fatalf("wakes %d, %d", w1.wakes, w2.wakes)
	}
	expect(t, take(t, first, 0))
	if w2.wakes != 1 {
		t.Fatal("declining woke nobody: the message is stuck")
	}
	expect(t, take(t, second, 1), "a")
}

func TestClosePassesOnItsWake(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	first, _ := subscribe(t, q, queue.SubscribeOptions{})
	_, w2 := subscribe(t, q, queue.SubscribeOptions{})
	put(t, q, log, "a")
	first.Close()
	if w2.wakes != 1 {
		t.Fatal("closing a woken subscription woke nobody")
	}
	if _, err := first.Take(make([]queue.Delivery, 1)); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Take after Close: %v", err)
	}
}

func TestIdleConsumersAreServedInTurn(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	a, wa := subscribe(t, q, queue.SubscribeOptions{})
	b, wb := subscribe(t, q, queue.SubscribeOptions{})
	for i := range 6 {
		put(t, q, log, fmt.Sprint(i))
		for _, c := range []struct {
			s *queue.Subscription
			w *waker
		}{{a, wa}, {b, wb}} {
			if c.w.wakes > 0 {
				c.w.wakes = 0
				expect(t, take(t, c.s, 10), fmt.Sprint(i))
				take(t, c.s, 10)
			}
		}
	}
	if got := q.Stats(); got.Delivered != 6 {
		t.Fatalf("stats %+v", got)
	}
}

func TestFairShareLeavesWorkForOthers(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	a, _ := subscribe(t, q, queue.SubscribeOptions{})
	subscribe(t, q, queue.SubscribeOptions{})
	for i := range 10 {
		put(t, q, log, fmt.Sprint(i))
	}
	if got := len(take(t, a, 10)); got != 5 {
		t.Errorf("one of two hungry consumers took %d of 10", got)
	}
}

func TestHigherPriorityComesFirst(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	low, wl := subscribe(t, q, queue.SubscribeOptions{})
	high, wh := subscribe(t, q, queue.SubscribeOptions{Priority: 5})
	put(t, q, log, "a")
	if wh.wakes != 1 || wl.wakes != 0 {
		t.Fatalf("wakes: high %d, low %d", wh.wakes, wl.wakes)
	}
	expect(t, take(t, low, 1))
	expect(t, take(t, high, 0)) // no credit: no longer in the way
	if wl.wakes != 1 {
		t.Fatal("the low one was not woken when the high one declined")
	}
	expect(t, take(t, low, 1), "a")
}

func TestSelectiveTakesFromTheMiddle(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	tested := map[string]int{}
	odd, w := subscribe(t, q, queue.SubscribeOptions{Match: func(m *message.Message) bool {
		tested[string(m.Body)]++
		return m.Body[len(m.Body)-1]%2 == 1
	}})
	take(t, odd, 1)
	for i := range 100 {
		put(t, q, log, fmt.Sprint(i))
	}
	if w.wakes == 0 {
		t.Fatal("never woken")
	}
	ds := take(t, odd, 10)
	expect(t, ds, "1", "3", "5", "7", "9", "11", "13", "15", "17", "19")
	settle(t, odd, ds[3:4], queue.Requeue)
	expect(t, take(t, odd, 2), "7", "21")
	all, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true})
	expect(t, take(t, all, 3), "0", "2", "4")
	for body, n := range tested {
		if n > 1 && body != "7" && len(body) > 1 && body > "20" {
			t.Errorf("%s was tested %d times", body, n)
		}
	}
}

func TestExclusiveConsumerSharesWithNobody(t *testing.T) {
	q := newQueue(t, "q", 0, nil, queue.Options{})
	s, _ := subscribe(t, q, queue.SubscribeOptions{Exclusive: true})
	if _, err := q.Subscribe(&waker{}, queue.SubscribeOptions{}); !errors.Is(err, queue.ErrExclusive) {
		t.Errorf("second consumer: %v", err)
	}
	s.Close()
	subscribe(t, q, queue.SubscribeOptions{})
	if _, err := q.Subscribe(&waker{}, queue.SubscribeOptions{Exclusive: true}); !errors.Is(err, queue.ErrExclusive) {
		t.Errorf("exclusive beside another: %v", err)
	}
}

func TestPurgeForgetsExactlyWhatItRemoved(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	put(t, q, log, "a", "b", "c")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := take(t, s, 1)
	n, _, err := q.Purge()
	if n != 2 || err != nil {
		t.Fatalf("Purge() = %d, %v", n, err)
	}
	if log.Living() != 1 || !log.Needs(1, ds[0].Pos()) {
		t.Error("the message that is out with a consumer is gone from the log")
	}
}

func TestClosedQueueWakesItsConsumersAndTakesNothing(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	s, w := subscribe(t, q, queue.SubscribeOptions{})
	put(t, q, log, "a", "b")
	ds := take(t, s, 1)
	w.wakes = 0
	if _, err := q.Close(queue.Condition{IfUnused: true}); !errors.Is(err, queue.ErrInUse) {
		t.Errorf("if unused: %v", err)
	}
	if _, err := q.Close(queue.Condition{IfEmpty: true}); !errors.Is(err, queue.ErrNotEmpty) {
		t.Errorf("if empty: %v", err)
	}
	if n, err := q.Close(queue.Condition{}); n != 1 || err != nil {
		t.Fatalf("Close() = %d, %v", n, err)
	}
	if _, err := q.Discard(); err != nil || log.Living() != 1 {
		t.Fatalf("after Discard, %v: %d references, want that of the message that is out", err, log.Living())
	}
	if w.wakes != 1 {
		t.Error("the consumer was not woken to find out")
	}
	if err := q.Put(durable("c"), queue.Pos{}); !errors.Is(err, queue.ErrClosed) {
		t.Errorf("Put: %v", err)
	}
	settle(t, s, ds, queue.Requeue) // has nowhere to go back to: it ends in the log
	if log.Needs(1, ds[0].Pos()) {
		t.Error("a token settled after the end is still needed")
	}
	s.Close()
}

func TestMessagesFromTheLogAreReadWhenTaken(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	put(t, q, log, "a", "b", "c")
	restarted := newQueue(t, "q", 1, log, queue.Options{})
	if err := log.Replay(restoring{restarted}); err != nil {
		t.Fatal(err)
	}
	s, _ := subscribe(t, restarted, queue.SubscribeOptions{Match: func(m *message.Message) bool { return m.Body[0] != 'a' }})
	expect(t, take(t, s, 1), "b")
	poll, _ := subscribe(t, restarted, queue.SubscribeOptions{Poll: true})
	expect(t, take(t, poll, 3), "a", "c")
}

type restoring struct{ *queue.Local }

func (r restoring) Row(queue.Row, queue.Pos) error { return nil }

func (r restoring) Message(at queue.Pos, i queue.Info, _ []uint32) error {
	r.Restore(queue.Found{At: at, Info: i})
	return nil
}

func TestFailedLogLosesNoMessage(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	q.Restore(queue.Found{At: queue.Pos{Seq: 99}})
	log.Fail(errors.New("closed"))
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	if _, err := s.Take(make([]queue.Delivery, 1)); err == nil {
		t.Fatal("no error")
	}
	if got := q.Stats(); got.Ready != 1 || got.Unacked != 0 {
		t.Errorf("stats %+v", got)
	}
}

// TestUnreadableMessagesDoNotHoldUpOthers damages messages that leave in each of the ways there are.
func TestUnreadableMessagesDoNotHoldUpOthers(t *testing.T) {
	var dead graveyard
	for _, c := range []struct {
		name   string
		o      queue.Options
		leave  func(t *testing.T, q *queue.Local, log *queuetest.Log)
		buried []string
	}{
		{"taken", queue.Options{}, func(t *testing.T, q *queue.Local, _ *queuetest.Log) {
			s, _ := subscribe(t, q, queue.SubscribeOptions{})
			expect(t, take(t, s, 1), "b")
			expect(t, take(t, s, 9), "d")
		}, nil},
		{"selected", queue.Options{}, func(t *testing.T, q *queue.Local, _ *queuetest.Log) {
			s, _ := subscribe(t, q, queue.SubscribeOptions{Match: func(*message.Message) bool { return true }})
			expect(t, take(t, s, 9), "b", "d")
		}, nil},
		{"dropped from the head", queue.Options{MaxLength: queue.AtMost(1), DeadLetter: dead.bury}, func(t *testing.T, q *queue.Local, log *queuetest.Log) {
			put(t, q, log, "e")
		}, []string{"b:maxlen", "d:maxlen"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := queuetest.NewLog()
			text := &bytes.Buffer{}
			first := newQueue(t, "q", 1, log, queue.Options{})
			put(t, first, log, "a", "b", "c", "d")
			c.o.Slog = slog.New(slog.NewTextHandler(text, nil))
			q := newQueue(t, "q", 1, log, c.o)
			if err := log.Replay(restoring{q}); err != nil {
				t.Fatal(err)
			}
			log.Damage(queue.Pos{Seq: 1})
			log.Damage(queue.Pos{Seq: 3})
			c.leave(t, q, log)
			if got := q.Stats(); got.Unreadable != 2 || log.Needs(1, queue.Pos{Seq: 1}) || log.Needs(1, queue.Pos{Seq: 3}) {
				t.Errorf("%+v", got)
			}
			if got := strings.Count(text.String(), "level=ERROR"); got != 2 {
				t.Errorf("%d errors logged:\n%s", got, text)
			}
			if got := dead.bodies(); !slices.Equal(got, c.buried) {
				t.Errorf("dead letters %q, want %q", got, c.buried)
			}
		})
	}
}

func TestPurgeOfADeepQueueIsToldInPortions(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	for range 50_000 {
		put(t, q, log, "old")
	}
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	out := take(t, s, 3)
	records := log.Records()
	n, receipt, err := q.Purge()
	if n != 50_000-3 || err != nil || receipt.By == nil || log.Living() != 3 {
		t.Fatalf("Purge() = %d, %v, %v with %d references left", n, receipt, err, log.Living())
	}
	if got := log.Records() - records; got < 2 || got > 10 {
		t.Errorf("acknowledged in %d portions", got)
	}
	settle(t, s, out, queue.Release)
	expect(t, take(t, s, 9), "old", "old", "old")
}

func TestLastConsumerLeavingIsTold(t *testing.T) {
	idle := 0
	q := newQueue(t, "q", 0, nil, queue.Options{Idle: func() { idle++ }})
	a, _ := subscribe(t, q, queue.SubscribeOptions{})
	b, _ := subscribe(t, q, queue.SubscribeOptions{})
	poll, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true})
	poll.Close()
	a.Close()
	a.Close()
	if idle != 0 {
		t.Fatal("told while one is left")
	}
	b.Close()
	if idle != 1 {
		t.Fatalf("told %d times", idle)
	}
}

// TestRandomOperationsAgreeWithASlice runs random operations against a plain sorted slice: with all bodies in memory,
// with none and with some; with priorities and without; and compares again after a restart.
func TestRandomOperationsAgreeWithASlice(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 1))
		log := queuetest.NewLog()
		o := queue.Options{}
		switch seed % 3 {
		case 1:
			o.Bodies = queue.NewBudget(0)
		case 2:
			o.Bodies = queue.NewBudget(5_000)
		}
		if seed%2 == 1 {
			o.MaxPriority = 3
		}
		priority := func(n int) uint8 { return uint8(n * 7 % 6) }
		inOrder := func(a, b int) int {
			return cmp.Or(cmp.Compare(min(priority(b), o.MaxPriority), min(priority(a), o.MaxPriority)), cmp.Compare(a, b))
		}
		q := newQueue(t, "q", 1, log, o)
		s, _ := subscribe(t, q, queue.SubscribeOptions{})
		even, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true, Match: func(m *message.Message) bool {
			return m.Body[len(m.Body)-1]%2 == 0
		}})
		var ready []int
		out := map[int]queue.Delivery{}
		number := func(d queue.Delivery) (n int) {
			if _, err := fmt.Sscan(string(d.Message.Body), &n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		next := 0
		for range 2000 {
			switch random.IntN(10) {
			case 0, 1, 2, 3:
				m := durable(fmt.Sprint(next))
				m.Priority = priority(next)
				at, _, _ := log.Append(m, []uint32{1})
				if err := q.Put(m, at); err != nil {
					t.Fatal(err)
				}
				ready = append(ready, next)
				slices.SortFunc(ready, inOrder)
				next++
			case 4, 5, 6:
				ds := take(t, s, random.IntN(8))
				for i, d := range ds {
					if n := number(d); n != ready[i] {
						t.Fatalf("seed %d: took %d, the model has %d", seed, n, ready[i])
					}
					out[ready[i]] = d
				}
				ready = ready[len(ds):]
			case 7:
				for _, d := range take(t, even, random.IntN(3)) {
					n := number(d)
					i := slices.Index(ready, n)
					if i < 0 || n%2 != 0 {
						t.Fatalf("seed %d: selected %d, which the model does not have", seed, n)
					}
					ready = slices.Delete(ready, i, i+1)
					out[n] = d
				}
			default:
				how := []queue.Outcome{queue.Ack, queue.Requeue, queue.Release, queue.Reject}[random.IntN(4)]
				var batch []queue.Delivery
				for n, d := range out { // in no order
					batch = append(batch, d)
					delete(out, n)
					if how == queue.Requeue || how == queue.Release {
						ready = append(ready, n)
					}
					if len(batch) == 3 {
						break
					}
				}
				slices.SortFunc(ready, inOrder)
				settle(t, s, batch, how)
			}
			if got := q.Stats(); got.Ready != len(ready) || got.Unacked != len(out) {
				t.Fatalf("seed %d: %d ready and %d out, the model has %d and %d", seed, got.Ready, got.Unacked, len(ready), len(out))
			}
		}
		if got := o.Bodies.Stats(); got.Used != 0 && got.Used != q.Stats().Cached {
			t.Fatalf("seed %d: budget %+v, queue %+v", seed, got, q.Stats())
		}
		if log.Living() != len(ready)+len(out) {
			t.Fatalf("seed %d: the log has %d living references, the model %d", seed, log.Living(), len(ready)+len(out))
		}
		restarted := newQueue(t, "q", 1, log, o)
		if err := log.Replay(restoring{restarted}); err != nil {
			t.Fatal(err)
		}
		for n := range out {
			ready = append(ready, n)
		}
		slices.SortFunc(ready, inOrder)
		again, _ := subscribe(t, restarted, queue.SubscribeOptions{})
		for i, d := range take(t, again, len(ready)+1) {
			if n := number(d); i >= len(ready) || n != ready[i] {
				t.Fatalf("seed %d: after a restart number %d is %d", seed, i, n)
			}
		}
		if got := restarted.Stats(); got.Unacked != len(ready) {
			t.Fatalf("seed %d: after a restart %d messages, want %d", seed, got.Unacked, len(ready))
		}
	}
}

func TestPutTakeSettleAllocatesNothing(t *testing.T) {
	q := newQueue(t, "q", 0, nil, queue.Options{})
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	m := &message.Message{Body: make([]byte, 1024)}
	ds := make([]queue.Delivery, 64)
	run := func() {
		for range 64 {
			if err := q.Put(m, queue.Pos{}); err != nil {
				t.Fatal(err)
			}
		}
		n, _ := s.Take(ds)
		if n != 64 {
			t.Fatalf("took %d", n)
		}
		settle(t, s, ds, queue.Ack)
		if n, _ := s.Take(ds); n != 0 {
			t.Fatal("more")
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations per 64 messages", n)
	}
}

func TestRequeueBehindTheLastOfAFullChunk(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	var want []string
	for i := range 64 {
		want = append(want, fmt.Sprint(i))
	}
	put(t, q, log, want...)
	middle, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true, Match: func(m *message.Message) bool {
		var n int
		_, _ = fmt.Sscan(string(m.Body), &n)
		return n >= 16 && n < 32
	}})
	ds := take(t, middle, 16)
	for i := range ds {
		settle(t, middle, ds[i:i+1], queue.Release)
	}
	all, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true})
	expect(t, take(t, all, 100), want...)
}
