package queue_test

import (
	"testing"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

// putAt puts a message whose body begins with its priority, a digit.
func putAt(t *testing.T, q *queue.Local, log *queuetest.Log, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		m := durable(body)
		m.Priority = body[0] - '0'
		at, _, err := log.Append(m, []uint32{q.ID()})
		if err == nil {
			err = q.Put(m, at)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestHigherPriorityMessagesComeFirst(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{MaxPriority: 5})
	putAt(t, q, log, "1a", "0a", "5a", "9 is as 5", "1b", "3a")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := take(t, s, 4)
	expect(t, ds, "5a", "9 is as 5", "3a", "1a")
	putAt(t, q, log, "5b")
	settle(t, s, []queue.Delivery{ds[1], ds[3]}, queue.Requeue)
	expect(t, take(t, s, 10), "9 is as 5", "5b", "1a", "1b", "0a")
}

func TestPrioritiesSurviveARestart(t *testing.T) {
	log := queuetest.NewLog()
	o := queue.Options{MaxPriority: 255}
	q := newQueue(t, "q", 1, log, o)
	putAt(t, q, log, "1", "2", "3", "2b")
	restarted := newQueue(t, "q", 1, log, o)
	if err := log.Replay(restoring{restarted}); err != nil {
		t.Fatal(err)
	}
	s, _ := subscribe(t, restarted, queue.SubscribeOptions{})
	expect(t, take(t, s, 10), "3", "2", "2b", "1")
}

func TestPrioritiesDoNotMatterUnlessAskedFor(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	putAt(t, q, log, "1", "9", "5")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	expect(t, take(t, s, 10), "1", "9", "5")
}

// TestDropHeadDropsFromTheHead is what RabbitMQ does, and says that people may not expect it.
func TestDropHeadDropsFromTheHead(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{MaxPriority: 9, MaxLength: queue.AtMost(2)})
	putAt(t, q, log, "9", "1", "0")
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	expect(t, take(t, s, 10), "1", "0")
}

func TestSelectiveTakesByPriority(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{MaxPriority: 9})
	tested := map[string]int{}
	s, _ := subscribe(t, q, queue.SubscribeOptions{Match: func(m *message.Message) bool {
		tested[string(m.Body)]++
		return m.Body[1] == 'y'
	}})
	putAt(t, q, log, "0y", "5n", "5y", "9n", "1y")
	ds := take(t, s, 1)
	expect(t, ds, "5y")
	putAt(t, q, log, "9y")
	settle(t, s, ds, queue.Release)
	expect(t, take(t, s, 10), "9y", "5y", "1y", "0y")
	if tested["9n"] != 1 || tested["5n"] != 1 {
		t.Errorf("tested %v", tested)
	}
}

func TestEachPriorityHasAHeadThatExpires(t *testing.T) {
	ticking(t, func(t *testing.T, clock *queue.Clock) {
		log := queuetest.NewLog()
		q := newQueue(t, "q", 1, log, queue.Options{MaxPriority: 9, Clock: clock})
		putAt(t, q, log, "9 for ever")
		m := durable("mortal")
		m.Expires = time.Now().UnixMilli() + 1000
		at, _, _ := log.Append(m, []uint32{1})
		if err := q.Put(m, at); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		if got := q.Stats(); got.Ready != 1 || got.Expired != 1 {
			t.Errorf("%+v", got)
		}
	})
}

func TestManyPrioritiesComeAndGo(t *testing.T) {
	q := newQueue(t, "q", 0, nil, queue.Options{MaxPriority: 255})
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	for round := range 3 {
		for i := range 256 {
			if err := q.Put(&message.Message{Priority: uint8(i * 77)}, queue.Pos{}); err != nil {
				t.Fatal(err)
			}
		}
		ds := take(t, s, 300)
		for i, d := range ds {
			if int(d.Message.Priority) != 255-i || len(ds) != 256 {
				t.Fatalf("round %d: number %d of %d has priority %d", round, i, len(ds), d.Message.Priority)
			}
		}
		settle(t, s, ds, queue.Ack)
	}
}

func TestPriorityListsAllocateNothingInSteadyState(t *testing.T) {
	q := newQueue(t, "q", 0, nil, queue.Options{MaxPriority: 3})
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := make([]queue.Delivery, 64)
	var messages [4]message.Message
	for i := range messages {
		messages[i].Priority = uint8(i)
	}
	run := func() {
		for i := range 64 {
			if err := q.Put(&messages[i%4], queue.Pos{}); err != nil {
				t.Fatal(err)
			}
		}
		n, _ := s.Take(ds)
		settle(t, s, ds[:n], queue.Ack)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations per 64 messages", n)
	}
}
