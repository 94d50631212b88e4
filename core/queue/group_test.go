package queue_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

// grouped is a durable message of a group, "" for none.
func grouped(group, body string) *message.Message {
	m := durable(body)
	if group != "" {
		m.Head = message.AppendStringField(message.BeginHeaders(nil), queue.GroupHeader, group)
	}
	return m
}

func putGrouped(t *testing.T, q *queue.Local, log *queuetest.Log, group, body string) {
	t.Helper()
	m := grouped(group, body)
	at, _, err := log.Append(m, []uint32{q.ID()})
	if err == nil {
		err = q.Put(m, at)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestGroupStaysWithItsConsumer(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	first, _ := subscribe(t, q, queue.SubscribeOptions{Group: true})
	second, w2 := subscribe(t, q, queue.SubscribeOptions{Group: true})
	for i, group := range []string{"x", "", "x", "y", "x"} {
		putGrouped(t, q, log, group, fmt.Sprint(i, group))
	}
	one := take(t, first, 1)
	expect(t, one, "0x")
	expect(t, take(t, second, 2), "1", "3y")
	expect(t, take(t, second, 5))
	expect(t, take(t, first, 5), "2x", "4x")
	putGrouped(t, q, log, "x", "5x")
	putGrouped(t, q, log, "x", "6x")
	expect(t, take(t, second, 5))
	settle(t, first, one, queue.Requeue)
	expect(t, take(t, second, 5))
	wakes := w2.wakes
	first.Close()
	if w2.wakes != wakes+1 {
		t.Error("who may have the group now was not woken")
	}
	expect(t, take(t, second, 5), "0x", "5x", "6x")
}

func TestQueueWithoutGroupsKnowsNothingOfThem(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	first, _ := subscribe(t, q, queue.SubscribeOptions{Group: true})
	second, _ := subscribe(t, q, queue.SubscribeOptions{Group: true})
	put(t, q, log, "a", "b", "c", "d")
	expect(t, take(t, first, 4), "a", "b") // a fair share, as without
	expect(t, take(t, second, 4), "c")
	poll, _ := subscribe(t, q, queue.SubscribeOptions{Poll: true, Group: true})
	putGrouped(t, q, log, "x", "e")
	expect(t, take(t, poll, 5), "d", "e") // who polls is no consumer
	if s := q.Stats(); s.Delivered != 5 || s.Unacked != 5 {
		t.Errorf("%+v", s)
	}
}

func TestConsumersThatDidNotAskForGroupsTakeAnything(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	asked, _ := subscribe(t, q, queue.SubscribeOptions{Group: true})
	other, _ := subscribe(t, q, queue.SubscribeOptions{})
	putGrouped(t, q, log, "x", "a")
	expect(t, take(t, asked, 1), "a")
	putGrouped(t, q, log, "x", "b")
	expect(t, take(t, other, 1), "b")
}

// TestRandomGroupsStayTogether has consumers come, take, settle and go at random, and compares with the rule: while a
// consumer that has got a message of a group is there, nobody else gets one, and what it gets of it is in order but for
// what came back.
func TestRandomGroupsStayTogether(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		log := queuetest.NewLog()
		q := newQueue(t, "q", 1, log, queue.Options{Bodies: queue.NewBudget(int64(r.IntN(2)) << 20)})
		type consumer struct {
			s       *queue.Subscription
			waker   *waker
			groups  map[string]bool
			highest map[string]int
			out     []queue.Delivery
		}
		var all []*consumer
		put, done := 0, map[string]bool{}
		groupOf := func(number int) string { return []string{"", "a", "b", "c", "d"}[number*7%5] }
		takeSome := func(c *consumer, n int) int {
			ds := take(t, c.s, n)
			for i := range ds {
				var number int
				_, _ = fmt.Sscan(string(ds[i].Message.Body), &number)
				group := groupOf(number)
				if group == "" {
					continue
				}
				for _, other := range all {
					if other != c && other.groups[group] {
						t.Fatalf("seed %d: group %s is at two consumers", seed, group)
					}
				}
				c.groups[group] = true
				if ds[i].Attempts == 0 {
					if number < c.highest[group] {
						t.Fatalf("seed %d: %d of group %s after %d", seed, number, group, c.highest[group])
					}
					c.highest[group] = number
				}
			}
			c.out = append(c.out, ds...)
			return len(ds)
		}
		settleSome := func(c *consumer, how queue.Outcome) {
			n := r.IntN(len(c.out) + 1)
			for i := range c.out[:n] {
				if body := string(c.out[i].Message.Body); how == queue.Ack {
					if done[body] {
						t.Fatalf("seed %d: %s twice", seed, body)
					}
					done[body] = true
				}
			}
			settle(t, c.s, slices.Clone(c.out[:n]), how)
			c.out = c.out[n:]
		}
		end := func(c *consumer) {
			settle(t, c.s, c.out, queue.Requeue)
			c.s.Close()
			all = slices.DeleteFunc(all, func(other *consumer) bool { return other == c })
		}
		for range 400 {
			switch op := r.IntN(10); {
			case op < 4:
				m := grouped(groupOf(put), fmt.Sprint(put))
				at, _, err := log.Append(m, []uint32{1})
				if err == nil {
					err = q.Put(m, at)
				}
				if err != nil {
					t.Fatal(err)
				}
				put++
			case op == 4 && len(all) < 4:
				c := &consumer{groups: map[string]bool{}, highest: map[string]int{}}
				c.s, c.waker = subscribe(t, q, queue.SubscribeOptions{Group: true})
				all = append(all, c)
			case len(all) == 0:
			case op == 5 && r.IntN(3) == 0:
				end(all[r.IntN(len(all))])
			case op < 8:
				takeSome(all[r.IntN(len(all))], r.IntN(6))
			case op == 8:
				settleSome(all[r.IntN(len(all))], queue.Ack)
			default:
				settleSome(all[r.IntN(len(all))], queue.Requeue)
			}
		}
		for len(all) > 1 {
			end(all[0])
		}
		if len(all) == 0 {
			c := &consumer{groups: map[string]bool{}, highest: map[string]int{}}
			c.s, c.waker = subscribe(t, q, queue.SubscribeOptions{Group: true})
			all = append(all, c)
		}
		last := all[0]
		for takeSome(last, 50) > 0 {
		}
		for len(last.out) > 0 {
			settleSome(last, queue.Ack)
		}
		if len(done) != put || q.Stats().Ready != 0 || q.Stats().Unacked != 0 {
			t.Fatalf("seed %d: %d of %d messages, %+v", seed, len(done), put, q.Stats())
		}
	}
}
