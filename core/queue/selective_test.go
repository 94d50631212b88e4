package queue_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

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

// pausedLog has the first Read of one message wait for the test.
type pausedLog struct {
	*queuetest.Log
	seq     uint64
	once    sync.Once
	arrived chan struct{}
	goOn    chan struct{}
}

func (l *pausedLog) Read(p queue.Pos) (*message.Message, error) {
	if p.Seq == l.seq {
		l.once.Do(func() {
			close(l.arrived)
			<-l.goOn
		})
	}
	return l.Log.Read(p)
}

func TestSelectiveConsumerSeesWhatComesBackWhileItReads(t *testing.T) {
	l := &pausedLog{Log: queuetest.NewLog(), seq: 3, arrived: make(chan struct{}), goOn: make(chan struct{})}
	q := newQueue(t, "q", 1, l, queue.Options{Bodies: queue.NewBudget(0)})
	put(t, q, l.Log, "wanted", "other", "other")
	plain, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true})
	first := take(t, plain, 1)
	selective, _ := subscribe(t, q, queue.SubscribeOptions{Match: func(m *message.Message) bool { return string(m.Body) == "wanted" }})
	type result struct {
		n   int
		err error
	}
	taken := make(chan result)
	go func() {
		n, err := selective.Take(make([]queue.Delivery, 5))
		taken <- result{n, err}
	}()
	<-l.arrived
	settle(t, plain, first, queue.Requeue)
	close(l.goOn)
	if r := <-taken; r.n != 1 || r.err != nil {
		t.Errorf("took %d, %v", r.n, r.err)
	}
}

// TestDisjointSelectorsTestEachMessageOnce drains a deep queue by four consumers with different tastes, once with their
// messages in turn and once one taste behind the other, and counts.
func TestDisjointSelectorsTestEachMessageOnce(t *testing.T) {
	const messages, tastes = 100_000, 4
	for name, tasteOf := range map[string]func(int) byte{
		"in turn":   func(i int) byte { return byte(i % tastes) },
		"in blocks": func(i int) byte { return byte(i / (messages / tastes)) },
	} {
		t.Run(name, func(t *testing.T) {
			q := newQueue(t, "q", 0, nil, queue.Options{})
			for i := range messages {
				if err := q.Put(&message.Message{Body: []byte{tasteOf(i)}}, queue.Pos{}); err != nil {
					t.Fatal(err)
				}
			}
			tested := [tastes]int{}
			var subs [tastes]*queue.Subscription
			for i := range subs {
				subs[i], _ = subscribe(t, q, queue.SubscribeOptions{Match: func(m *message.Message) bool {
					tested[i]++
					return m.Body[0] == byte(i)
				}})
			}
			ds := make([]queue.Delivery, 64)
			for left := messages; left > 0; {
				before := left
				for i, s := range subs {
					n, err := s.Take(ds)
					if err != nil {
						t.Fatal(err)
					}
					for _, d := range ds[:n] {
						if d.Message.Body[0] != byte(i) {
							t.Fatal("a message of another taste")
						}
					}
					settle(t, s, ds[:n], queue.Ack)
					left -= n
				}
				if left == before {
					t.Fatalf("%d messages are not delivered", left)
				}
			}
			for i, n := range tested {
				if n > messages {
					t.Errorf("consumer %d tested %d messages, %d were there", i, n, messages)
				}
			}
		})
	}
}

// anything is a selective subscription that wants all.
func anything(priority int) queue.SubscribeOptions {
	return queue.SubscribeOptions{Priority: priority, Match: func(*message.Message) bool { return true }}
}

// TestSelectiveConsumerIsWokenWhenTheSoleOneGoes has it wait for messages that were another's alone.
func TestSelectiveConsumerIsWokenWhenTheSoleOneGoes(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	sole, _ := subscribe(t, q, queue.SubscribeOptions{Sole: true})
	s, w := subscribe(t, q, anything(0))
	put(t, q, log, "a")
	expect(t, take(t, s, 1))
	before := w.wakes
	sole.Close()
	if w.wakes != before+1 {
		t.Fatalf("woken %d times", w.wakes-before)
	}
	expect(t, take(t, s, 1), "a")
}

// TestSelectiveConsumerIsWokenWhenThoseBeforeItPass has it wait behind one of higher priority that has no credit left,
// or goes.
func TestSelectiveConsumerIsWokenWhenThoseBeforeItPass(t *testing.T) {
	for name, pass := range map[string]func(t *testing.T, high *queue.Subscription){
		"declines": func(t *testing.T, high *queue.Subscription) { take(t, high, 0) },
		"goes":     func(_ *testing.T, high *queue.Subscription) { high.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			log := queuetest.NewLog()
			q := newQueue(t, "q", 1, log, queue.Options{})
			high, _ := subscribe(t, q, queue.SubscribeOptions{Priority: 1})
			low, w := subscribe(t, q, anything(0))
			expect(t, take(t, high, 1))
			expect(t, take(t, low, 1))
			put(t, q, log, "a")
			expect(t, take(t, low, 1))
			before := w.wakes
			pass(t, high)
			if w.wakes != before+1 {
				t.Fatalf("woken %d times", w.wakes-before)
			}
			expect(t, take(t, low, 1), "a")
		})
	}
}

// BenchmarkSelectiveConsumerOfADeepQueue is what a message costs that a selective consumer reads and does not want: the
// same at any depth.
func BenchmarkSelectiveConsumerOfADeepQueue(b *testing.B) {
	for _, depth := range []struct {
		name     string
		messages int
	}{{"20k", 20_000}, {"320k", 320_000}} {
		b.Run(depth.name, func(b *testing.B) {
			log := bottomless{body: durable("body")}
			q := queue.New("q", 1, log, queue.Options{Bodies: queue.NewBudget(0)})
			for i := range uint64(depth.messages) {
				if err := q.Put(log.body, queue.Pos{Seq: i + 1, Segment: 1, Offset: uint32(i) * 100, Size: 100}); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				s, err := q.Subscribe(&silent{}, queue.SubscribeOptions{Match: func(*message.Message) bool { return false }})
				if err != nil {
					b.Fatal(err)
				}
				if n, err := s.Take(make([]queue.Delivery, 1)); n != 0 || err != nil {
					b.Fatal(n, err)
				}
				s.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*depth.messages), "ns/message")
		})
	}
}

// TestSlowTestsLetOthersAtTheQueue has each test take a millisecond: whoever wants the queue's lock need not wait for all.
func TestSlowTestsLetOthersAtTheQueue(t *testing.T) {
	const messages = 100
	l := queuetest.NewLog()
	q := newQueue(t, "q", 1, l, queue.Options{})
	for range messages {
		put(t, q, l, "x")
	}
	var tested atomic.Int32
	seen := make(chan int32, 1)
	selective, _ := subscribe(t, q, queue.SubscribeOptions{Match: func(*message.Message) bool {
		if tested.Add(1) == 1 {
			wants := make(chan struct{})
			go func() {
				close(wants)
				q.Stats()
				seen <- tested.Load()
			}()
			<-wants
		}
		time.Sleep(time.Millisecond)
		return false
	}})
	if n, err := selective.Take(make([]queue.Delivery, 1)); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if n := <-seen; n >= messages {
		t.Errorf("%d tests before anybody else got at the queue", n)
	}
}
