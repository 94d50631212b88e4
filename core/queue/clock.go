package queue

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Clock has the queues of a broker do on time what nobody asks them for: let the messages at their heads expire, and
// end when they have not been used for long. It is one heap of queues by their next deadline, one goroutine and one
// timer, however many messages and queues there are.
type Clock struct {
	failed func(queue string, err error) // immutable
	wake   chan struct{}                 // capacity 1: the first deadline has changed

	mu    sync.Mutex // leaf, taken after a queue's
	queue alarms
}

// NewClock returns a clock. failed is told of messages that could not leave their queue; it will be tried again.
func NewClock(failed func(queue string, err error)) *Clock {
	return &Clock{failed: failed, wake: make(chan struct{}, 1)}
}

const (
	// lookAgain is how long the clock sleeps at most while there is a deadline: deadlines are wall time, and this is
	// how late it may notice that somebody has set the system's clock.
	lookAgain = time.Second
	// retryAfter is how many milliseconds a queue waits after its messages could not leave.
	retryAfter = 1000
)

// Run does what is due until ctx ends. One goroutine calls it.
func (c *Clock) Run(ctx context.Context) {
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	for ctx.Err() == nil {
		clock := now()
		q, next := c.next(clock)
		if q != nil {
			if err := q.due(clock); err != nil {
				c.failed(q.name, err)
			}
			continue
		}
		var alarm <-chan time.Time
		if next != 0 {
			timer.Reset(time.Duration(min(next-clock, lookAgain.Milliseconds())) * time.Millisecond)
			alarm = timer.C
		}
		select {
		case <-ctx.Done():
		case <-c.wake:
		case <-alarm:
		}
	}
}

// next takes the queue out that is due first; when none is, it returns when one will be, 0 for never.
func (c *Clock) next(clock int64) (due *Local, at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.queue) == 0:
		return nil, 0
	case c.queue[0].alarm.at > clock:
		return nil, c.queue[0].alarm.at
	}
	due, _ = heap.Pop(&c.queue).(*Local)
	return due, 0
}

// set has q called at that time and not at another.
func (c *Clock) set(q *Local, at int64) {
	c.mu.Lock()
	q.alarm.at = at
	if q.alarm.index == 0 {
		heap.Push(&c.queue, q)
	} else {
		heap.Fix(&c.queue, q.alarm.index-1)
	}
	first := c.queue[0] == q
	c.mu.Unlock()
	if first {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// forget has q not called any more.
func (c *Clock) forget(q *Local) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.alarm.index != 0 {
		heap.Remove(&c.queue, q.alarm.index-1)
	}
}

// alarm is a queue's place in its clock, guarded by the clock's mu.
type alarm struct {
	at    int64 // Unix milliseconds
	index int   // in the heap, from 1; 0 when it is not there
}

// alarms is a heap, see container/heap.
type alarms []*Local

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].alarm.at < a[j].alarm.at }

func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].alarm.index, a[j].alarm.index = i+1, j+1
}

func (a *alarms) Push(x any) {
	q, _ := x.(*Local)
	*a = append(*a, q)
	q.alarm.index = len(*a)
}

func (a *alarms) Pop() any {
	last := len(*a) - 1
	q := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	q.alarm.index = 0
	return q
}
