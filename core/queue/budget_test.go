package queue_test

import (
	"fmt"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

func TestDurableMessagesLeaveMemoryWhenTheBudgetIsUsedUp(t *testing.T) {
	log := queuetest.NewLog()
	budget := queue.NewBudget(1000)
	q := newQueue(t, "q", 1, log, queue.Options{Bodies: budget, Pager: roomy()})
	var want []string
	for i := range 100 {
		want = append(want, fmt.Sprint(i))
	}
	put(t, q, log, want...)
	if got := budget.Stats(); got.Used > got.Limit || got.Used == 0 || got.Released == 0 || got.Used != q.Stats().Cached {
		t.Errorf("budget %+v, queue %+v", got, q.Stats())
	}
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := take(t, s, 100)
	expect(t, ds, want...)
	if got := budget.Stats(); got.Used != 0 {
		t.Errorf("%d bytes counted with nothing waiting", got.Used)
	}
	take(t, s, 0) // a consumer that asks for more keeps a little beyond the budget
	settle(t, s, ds, queue.Release)
	if got := budget.Stats(); got.Used > got.Limit {
		t.Errorf("put back: %+v", got)
	}
	if _, _, err := q.Purge(); err != nil || budget.Stats().Used != 0 {
		t.Errorf("after a purge %+v, %v", budget.Stats(), err)
	}
}

func TestTransientMessagesStayInMemory(t *testing.T) {
	budget := queue.NewBudget(0)
	q := newQueue(t, "q", 1, queuetest.NewLog(), queue.Options{Bodies: budget})
	if err := q.Put(&message.Message{Body: []byte("a")}, queue.Pos{}); err != nil {
		t.Fatal(err)
	}
	if got := budget.Stats(); got.Used == 0 || got.Released != 0 {
		t.Errorf("budget %+v", got)
	}
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	expect(t, take(t, s, 1), "a")
}

func TestOneDeepQueueDoesNotHaveOthersReadTheDisk(t *testing.T) {
	log := queuetest.NewLog()
	budget := queue.NewBudget(10_000)
	deep := newQueue(t, "deep", 1, log, queue.Options{Bodies: budget, Pager: roomy()})
	for range 100 {
		put(t, deep, log, "waiting")
	}
	busy := newQueue(t, "busy", 2, log, queue.Options{Bodies: budget, Pager: roomy()})
	s, _ := subscribe(t, busy, queue.SubscribeOptions{})
	take(t, s, 1)
	before := budget.Stats().Released
	put(t, busy, log, "passing")
	if budget.Stats().Released != before {
		t.Error("a message that a consumer asks for left memory")
	}
	expect(t, take(t, s, 1), "passing")
}
