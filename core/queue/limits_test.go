package queue_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name string
		o    queue.Options
		want []string
		full bool
	}{
		{"drop head by length", queue.Options{MaxLength: queue.AtMost(2)}, []string{"b", "c"}, false},
		{"drop head by bytes", queue.Options{MaxBytes: queue.AtMost(1)}, []string{"c"}, false},
		{"refuse", queue.Options{MaxLength: queue.AtMost(2), Overflow: queue.Refuse}, []string{"a", "b"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := queuetest.NewLog()
			q := newQueue(t, "q", 1, log, c.o)
			var last error
			for _, body := range []string{"a", "b", "c"} {
				m := durable(body)
				at, _, _ := log.Append(m, []uint32{1})
				last = q.Put(m, at)
			}
			if errors.Is(last, queue.ErrFull) != c.full {
				t.Errorf("last Put: %v", last)
			}
			s, _ := subscribe(t, q, queue.SubscribeOptions{})
			expect(t, take(t, s, 10), c.want...)
			if !c.full && log.Living() != len(c.want) {
				t.Errorf("%d living references in the log", log.Living())
			}
		})
	}
}

func TestRejectedAndSpentMessagesBecomeDeadLetters(t *testing.T) {
	log := queuetest.NewLog()
	var dead []string
	q := newQueue(t, "q", 1, log, queue.Options{MaxAttempts: queue.AtMost(1), DeadLetter: func(ds []queue.Delivery, why queue.Reason) (confirm.Receipt, error) {
		for _, d := range ds {
			dead = append(dead, string(d.Message.Body)+":"+why.String())
		}
		return confirm.Receipt{}, nil
	}})
	put(t, q, log, "a", "b")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := take(t, s, 2)
	settle(t, s, ds[:1], queue.Reject)
	settle(t, s, ds[1:], queue.Requeue)
	settle(t, s, take(t, s, 1), queue.Requeue)
	if want := []string{"a:rejected", "b:delivery_limit"}; !slices.Equal(dead, want) {
		t.Errorf("dead letters %q, want %q", dead, want)
	}
}

func TestFailedDeadLetterStaysInItsQueue(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{DeadLetter: func([]queue.Delivery, queue.Reason) (confirm.Receipt, error) {
		return confirm.Receipt{}, errors.New("no")
	}})
	put(t, q, log, "a")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	if _, err := s.Settle(take(t, s, 1), queue.Reject); err == nil {
		t.Fatal("no error")
	}
	expect(t, take(t, s, 1), "a")
}

func TestExpiredMessagesAreNotDelivered(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	now := time.Now().UnixMilli()
	for i, expires := range []int64{now - 1, 0, now + 1_000_000} {
		m := durable(fmt.Sprint(i))
		m.Time, m.Expires = now-10, expires
		at, _, _ := log.Append(m, []uint32{1})
		if err := q.Put(m, at); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	expect(t, take(t, s, 10), "1", "2")
	if got := q.Stats(); got.Expired != 1 || got.Unacked != 2 {
		t.Errorf("stats %+v", got)
	}
}

func TestTimeToLiveZeroIsDeliveredToWhoIsThere(t *testing.T) {
	q := newQueue(t, "q", 0, nil, queue.Options{})
	now := time.Now().UnixMilli()
	immediate := &message.Message{Body: []byte("now"), Time: now, Expires: now}
	if err := q.Put(immediate, queue.Pos{}); err != nil {
		t.Fatal(err)
	}
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	expect(t, take(t, s, 1))
	if err := q.Put(immediate, queue.Pos{}); err != nil {
		t.Fatal(err)
	}
	expect(t, take(t, s, 1), "now")
}

func TestTimeToLiveZeroHasOneChance(t *testing.T) {
	q := newQueue(t, "q", 0, nil, queue.Options{})
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	now := time.Now().UnixMilli()
	for range 4 {
		if err := q.Put(&message.Message{Body: []byte("now"), Time: now, Expires: now}, queue.Pos{}); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, take(t, s, 1), "now")
	expect(t, take(t, s, 10))
	if got := q.Stats(); got.Expired != 3 || got.Ready != 0 {
		t.Errorf("stats %+v", got)
	}
}

func TestManyExpiredAreLeftInPortions(t *testing.T) {
	log := queuetest.NewLog()
	largest := 0
	q := newQueue(t, "q", 1, log, queue.Options{DeadLetter: func(ds []queue.Delivery, _ queue.Reason) (confirm.Receipt, error) {
		largest = max(largest, len(ds))
		return confirm.Receipt{}, nil
	}})
	past := time.Now().UnixMilli() - 1
	for range 1000 {
		m := durable("old")
		m.Expires = past
		at, _, _ := log.Append(m, []uint32{1})
		if err := q.Put(m, at); err != nil {
			t.Fatal(err)
		}
	}
	put(t, q, log, "fresh")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	expect(t, take(t, s, 10), "fresh")
	if got := q.Stats(); got.Expired != 1000 || largest > 100 {
		t.Errorf("stats %+v, %d at once", got, largest)
	}
}

func TestDropThatFailsKeepsBoth(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{MaxLength: queue.AtMost(1), DeadLetter: func([]queue.Delivery, queue.Reason) (confirm.Receipt, error) {
		return confirm.Receipt{}, errors.New("no")
	}})
	put(t, q, log, "a", "b") // put fails the test on an error: a message that is in the queue was not refused
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	expect(t, take(t, s, 10), "a", "b")
}

func TestTransientIsDroppedWithoutConsumer(t *testing.T) {
	q := newQueue(t, "q", 0, nil, queue.Options{DropTransientWhenIdle: true})
	_ = q.Put(&message.Message{}, queue.Pos{})
	if got := q.Stats(); got.Ready != 0 || got.Dropped != 1 {
		t.Errorf("stats %+v", got)
	}
}

func TestWhatCannotLeaveWakesItsConsumer(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{MaxBytes: queue.AtMost(10), Overflow: queue.RefuseDeadLetter,
		DeadLetter: func([]queue.Delivery, queue.Reason) (confirm.Receipt, error) {
			return confirm.Receipt{}, errors.New("no")
		}})
	s, w := subscribe(t, q, queue.SubscribeOptions{})
	take(t, s, 1)
	m := durable("more than ten bytes")
	at, _, _ := log.Append(m, []uint32{1})
	if err := q.Put(m, at); !errors.Is(err, queue.ErrBuried) {
		t.Fatalf("Put: %v", err)
	}
	if w.wakes != 1 {
		t.Errorf("%d wakes for a message that stayed", w.wakes)
	}
	expect(t, take(t, s, 1), "more than ten bytes")
}
