package queue_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

func TestLimitSurvivesJSON(t *testing.T) {
	type row struct {
		Most queue.Limit `json:",omitzero"`
	}
	for _, test := range []struct {
		limit queue.Limit
		text  string
	}{
		{queue.Limit{}, `{}`},
		{queue.AtMost(0), `{"Most":0}`},
		{queue.AtMost(5), `{"Most":5}`}, // as every version has written it
	} {
		text, err := json.Marshal(row{test.limit})
		if err != nil || string(text) != test.text {
			t.Errorf("%v: %s, %v", test.limit, text, err)
		}
		var back row
		if err := json.Unmarshal(text, &back); err != nil || back.Most != test.limit {
			t.Errorf("%s: %v, %v", text, back.Most, err)
		}
	}
}

// ruled returns a queue and what puts it under other laws.
func ruled(t *testing.T, log queue.Log, o queue.Options) (*queue.Local, func(queue.Options)) {
	t.Helper()
	if o.Pager == nil {
		o.Pager, _ = paging(t, queue.PagerOptions{Memory: 1 << 20})
	}
	q := queue.New("q", 1, log, o)
	return q, func(next queue.Options) {
		t.Helper()
		next.Pager, next.Clock = o.Pager, o.Clock
		q.Obey(queue.NewLaws(log, next))
		if err := q.Enforce(); err != nil {
			t.Error(err)
		}
	}
}

func TestLowerLimitHoldsAtOnce(t *testing.T) {
	log := queuetest.NewLog()
	dead := &graveyard{}
	q, obey := ruled(t, log, queue.Options{})
	put(t, q, log, "a", "b", "c", "d")
	obey(queue.Options{MaxLength: queue.AtMost(3)})
	obey(queue.Options{MaxBytes: queue.AtMost(2), DeadLetter: dead.bury})
	obey(queue.Options{MaxLength: queue.AtMost(1), Overflow: queue.Refuse})
	if err := q.Put(durable("e"), queue.Pos{}); !errors.Is(err, queue.ErrFull) {
		t.Errorf("Put over a limit that refuses: %v", err)
	}
	obey(queue.Options{})
	put(t, q, log, "f")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	expect(t, take(t, s, 9), "c", "d", "f")
	if got := q.Stats(); got.Dropped != 1 || got.DeadLettered != 1 || got.Refused != 1 {
		t.Errorf("stats %+v", got)
	}
	if got := fmt.Sprint(dead.bodies()); got != "[b:maxlen]" {
		t.Errorf("dead letters %s", got)
	}
}

// TestLargeSurplusLeavesInPortions: the clock goes on where Enforce has stopped.
func TestLargeSurplusLeavesInPortions(t *testing.T) {
	ticking(t, func(t *testing.T, c *queue.Clock) {
		log := queuetest.NewLog()
		q := queue.New("q", 1, log, queue.Options{Clock: c})
		for i := range 5000 {
			put(t, q, log, fmt.Sprint(i))
		}
		q.Obey(queue.NewLaws(log, queue.Options{Clock: c, MaxLength: queue.AtMost(2)}))
		if err := q.Enforce(); err != nil {
			t.Error(err)
		}
		after(time.Millisecond)
		s, _ := subscribe(t, q, queue.SubscribeOptions{})
		expect(t, take(t, s, 9), "4998", "4999")
		if log.Living() != 2 {
			t.Errorf("%d living references in the log", log.Living())
		}
	})
}

func TestWaitingMessagesKeepTheirDeadline(t *testing.T) {
	ticking(t, func(t *testing.T, c *queue.Clock) {
		log := queuetest.NewLog()
		q := queue.New("q", 1, log, queue.Options{Clock: c})
		obey := func(o queue.Options) {
			o.Clock = c
			q.Obey(queue.NewLaws(log, o))
		}
		put(t, q, log, "ever")
		obey(queue.Options{HasTTL: true, TTL: 1000})
		put(t, q, log, "short")
		obey(queue.Options{HasTTL: true, TTL: 5000})
		put(t, q, log, "long")
		obey(queue.Options{})
		put(t, q, log, "late")
		after(6 * time.Second)
		s, _ := subscribe(t, q, queue.SubscribeOptions{})
		expect(t, take(t, s, 9), "ever", "late")
		if got := q.Stats(); got.Expired != 2 {
			t.Errorf("stats %+v", got)
		}
	})
}

// TestTimeToLiveGoneAfterARestart: when restored messages came is looked up only when somebody needs to know.
func TestTimeToLiveGoneAfterARestart(t *testing.T) {
	ticking(t, func(t *testing.T, c *queue.Clock) {
		log := queuetest.NewLog()
		at, _, err := log.Append(durable("a"), []uint32{1})
		if err != nil {
			t.Fatal(err)
		}
		o := queue.Options{Clock: c, HasTTL: true, TTL: 1000}
		q := queue.New("q", 1, log, o)
		q.Restore(queue.Found{At: at, Info: queue.Info{Size: 1}})
		q.Obey(queue.NewLaws(log, queue.Options{Clock: c}))
		after(3 * time.Second)
		s, _ := subscribe(t, q, queue.SubscribeOptions{})
		ds := take(t, s, 1)
		expect(t, ds, "a")
		settle(t, s, ds, queue.Requeue)
		if ds = take(t, s, 1); len(ds) != 1 {
			t.Fatal("it does not come again")
		}
		settle(t, s, ds, queue.Ack)
		if n := queue.Mortal(q); n != 0 {
			t.Errorf("the clock waits for %d messages that have gone", n)
		}
	})
}

func TestExpiresBeginsAnew(t *testing.T) {
	ticking(t, func(t *testing.T, c *queue.Clock) {
		var gone []string
		with := func(name string, ms int64) *queue.Laws {
			return queue.NewLaws(nil, queue.Options{Clock: c, Expires: ms, Unused: func() { gone = append(gone, name) }})
		}
		q := with("first", 1000).Queue("q", 0)
		after(900 * time.Millisecond)
		q.Obey(with("second", 1000))
		after(900 * time.Millisecond)
		if len(gone) != 0 {
			t.Errorf("gone by %q", gone)
		}
		q.Obey(with("third", 0))
		after(time.Hour)
		q.Obey(with("fourth", 10))
		after(10 * time.Millisecond)
		if fmt.Sprint(gone) != "[fourth]" {
			t.Errorf("gone by %q", gone)
		}
	})
}

func TestLimitOfZeroKeepsNothing(t *testing.T) {
	for _, o := range []queue.Options{{MaxLength: queue.AtMost(0)}, {MaxBytes: queue.AtMost(0)}} {
		ticking(t, func(t *testing.T, c *queue.Clock) {
			o.Clock = c
			log := queuetest.NewLog()
			q := queue.New("q", 1, log, o)
			put(t, q, log, "nobody")
			if got := q.Stats(); got.Ready != 0 || got.Dropped != 1 {
				t.Errorf("nobody there: %+v", got)
			}
			s, _ := subscribe(t, q, queue.SubscribeOptions{})
			expect(t, take(t, s, 2))
			put(t, q, log, "a", "b", "c")
			ds := take(t, s, 2)
			expect(t, ds, "a", "b")
			take(t, s, 0) // its credit is used up
			after(time.Millisecond)
			if got := q.Stats(); got.Ready != 0 || got.Dropped != 2 {
				t.Errorf("no credit: %+v", got)
			}
			settle(t, s, ds, queue.Requeue)
			if got := q.Stats(); got.Ready != 0 || got.Dropped != 4 || got.Unacked != 0 || log.Living() != 0 {
				t.Errorf("requeued: %+v", got)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		q := queue.New("q", 0, nil, queue.Options{MaxLength: queue.AtMost(0), Overflow: queue.Refuse})
		subscribe(t, q, queue.SubscribeOptions{})
		if err := q.Put(&message.Message{}, queue.Pos{}); !errors.Is(err, queue.ErrFull) {
			t.Errorf("Put: %v", err)
		}
	})
}

// TestConsumerThatStandsStillKeepsLittle: it is hungry as far as the queue knows.
func TestConsumerThatStandsStillKeepsLittle(t *testing.T) {
	q := queue.New("q", 0, nil, queue.Options{MaxLength: queue.AtMost(0)})
	subscribe(t, q, queue.SubscribeOptions{})
	for range 5000 {
		if err := q.Put(&message.Message{}, queue.Pos{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := q.Stats(); got.Ready > 1024 || got.Ready == 0 {
		t.Errorf("%d messages wait", got.Ready)
	}
}

func TestWhatComesBackOverTheLimitLeaves(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{MaxLength: queue.AtMost(2)})
	put(t, q, log, "a", "b")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := take(t, s, 2)
	put(t, q, log, "c")
	settle(t, s, ds, queue.Requeue)
	expect(t, take(t, s, 9), "b", "c")
	if log.Living() != 2 {
		t.Errorf("%d living references in the log", log.Living())
	}
}

// TestLawsChangeUnderTraffic is for the race detector, and for the sum of what comes in and goes out.
func TestLawsChangeUnderTraffic(t *testing.T) {
	const messages = 20_000
	log := queuetest.NewLog()
	dead := &graveyard{}
	q, obey := ruled(t, log, queue.Options{})
	var group, others sync.WaitGroup
	done := make(chan struct{})
	group.Go(func() {
		for i := range messages {
			m := durable(fmt.Sprint(i))
			at, _, err := log.Append(m, []uint32{1})
			if err != nil {
				t.Error(err)
			}
			if errors.Is(q.Put(m, at), queue.ErrFull) { // its reference is ours to end
				_, _ = log.Ack(1, []queue.Pos{at})
			}
		}
	})
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	others.Go(func() {
		ds := make([]queue.Delivery, 16)
		for {
			n, err := s.Take(ds)
			if err != nil {
				t.Error(err)
			}
			if n > 0 {
				how := queue.Ack
				if ds[0].ID%3 == 0 && ds[0].Attempts == 0 {
					how = queue.Requeue
				}
				settle(t, s, ds[:n], how)
				continue
			}
			select {
			case <-done:
				if q.Stats().Ready == 0 {
					return
				}
			default:
			}
		}
	})
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				obey(queue.Options{})
				return
			default:
			}
			o := queue.Options{MaxLength: queue.AtMost(int64(i % 7)), HasTTL: i%5 == 0, TTL: int64(i % 3), Overflow: queue.Overflow(i % 3)}
			if i%2 == 0 {
				o.DeadLetter = dead.bury
			}
			obey(o)
		}
	})
	group.Wait()
	close(done)
	others.Wait()
	got := q.Stats()
	if log.Living() != len(dead.bodies()) { // the graveyard acknowledges nothing
		t.Errorf("%d living references in the log, %d dead letters: %+v", log.Living(), len(dead.bodies()), got)
	}
	if got.Ready != 0 || got.Unacked != 0 || got.Acked == 0 {
		t.Errorf("stats %+v", got)
	}
}

// alternate puts a queue under two laws in turn until the test has ended.
func alternate(t *testing.T, q *queue.Local, a, b *queue.Laws) (stop func()) {
	t.Helper()
	var ending atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !ending.Load() {
			q.Obey(a)
			q.Obey(b)
		}
	}()
	return func() {
		ending.Store(true)
		<-done
	}
}

// TestExpiryGoesWhileItIsActedUpon takes an expiry away in just the moment in which it is over.
func TestExpiryGoesWhileItIsActedUpon(t *testing.T) {
	pager := roomy()
	expiring := queue.NewLaws(nil, queue.Options{Expires: 1, Unused: func() {}, Pager: pager})
	q := expiring.Queue("q", 0)
	stop := alternate(t, q, expiring, queue.NewLaws(nil, queue.Options{Pager: pager}))
	defer stop()
	for range 200_000 {
		if err := queue.Due(q, math.MaxInt64/2); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTimeToLiveGoesWhileItIsRead takes a time to live away while messages that have a long one are found to be alive.
func TestTimeToLiveGoesWhileItIsRead(t *testing.T) {
	m := durable("m")
	m.Time = time.Now().UnixMilli() - 1
	log := bottomless{body: m}
	pager := roomy()
	timed := queue.NewLaws(log, queue.Options{HasTTL: true, TTL: time.Hour.Milliseconds(), Pager: pager})
	q := timed.Queue("q", 1)
	found := make([]queue.Found, 200_000)
	for i := range found {
		found[i].At = queue.Pos{Seq: uint64(i + 1), Segment: 1, Offset: uint32(i), Size: 1}
	}
	q.Restore(found...)
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	stop := alternate(t, q, timed, queue.NewLaws(log, queue.Options{Pager: pager}))
	defer stop()
	ds := make([]queue.Delivery, 64)
	for {
		n, err := s.Take(ds)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		settle(t, s, ds[:n], queue.Ack)
	}
	if stats := q.Stats(); stats.Expired != 0 {
		t.Errorf("%d messages expired an hour early", stats.Expired)
	}
}
