package queue

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Clock has the queues of a broker do on time what nobody asks them for: let the messages at their heads expire, and
// end when they have not been used for long; and Delayed let go what is due. It is one heap of those by their next
// deadline, one goroutine and one timer, however many messages and queues there are.
type Clock struct {
	failed func(queue string, err error) // immutable
	held   func() bool                   // see HoldWhile; immutable once Run has begun
	wake   chan struct{}                 // capacity 1: the first deadline has changed

	mu    sync.Mutex // leaf, taken after a sleeper's
	queue alarms
}

// sleeper is what a clock can call: a queue, or what waits to be put on queues.
type sleeper interface {
	// due does what the time has come for. It is called by the clock's goroutine with no lock held.
	due(clock int64) error
	// clockAlarm is the same place for the life of the sleeper.
	clockAlarm() *alarm
	Name() string
}

func (q *Local) clockAlarm() *alarm { return &q.times().alarm }

// NewClock returns a clock. failed is told of messages that could not leave their queue; it will be tried again.
func NewClock(failed func(queue string, err error)) *Clock {
	return &Clock{failed: failed, wake: make(chan struct{}, 1)}
}

// HoldWhile has nothing written on behalf of time as long as held answers true: neither is released what was delayed nor
// do messages become dead letters because they have expired. It is asked again every second, and whenever somebody takes
// from a queue with such messages: it must be quick and is called with a queue's lock held. Call it before Run.
func (c *Clock) HoldWhile(held func() bool) { c.held = held }

// holds reports whether nothing may be written on behalf of time. A nil clock never holds.
func (c *Clock) holds() bool { return c != nil && c.held != nil && c.held() }

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
		s, next := c.next(clock)
		if s != nil {
			if err := s.due(clock); err != nil {
				c.failed(s.Name(), err)
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

// next takes the one out that is due first; when none is, it returns when one will be, 0 for never.
func (c *Clock) next(clock int64) (due sleeper, at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(c.queue) == 0:
		return nil, 0
	case c.queue[0].at > clock:
		return nil, c.queue[0].at
	}
	first, _ := heap.Pop(&c.queue).(*alarm)
	return first.owner, 0
}

// set has s called at that time and not at another.
func (c *Clock) set(s sleeper, at int64) {
	a := s.clockAlarm()
	c.mu.Lock()
	a.at, a.owner = at, s
	if a.index == 0 {
		heap.Push(&c.queue, a)
	} else {
		heap.Fix(&c.queue, a.index-1)
	}
	first := c.queue[0] == a
	c.mu.Unlock()
	if first {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// forget has s not called any more.
func (c *Clock) forget(s sleeper) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := s.clockAlarm(); a.index != 0 {
		heap.Remove(&c.queue, a.index-1)
	}
}

// alarm is a sleeper's place in its clock, guarded by the clock's mu.
type alarm struct {
	owner sleeper
	at    int64 // Unix milliseconds
	index int   // in the heap, from 1; 0 when it is not there
}

// alarms is a heap, see container/heap.
type alarms []*alarm

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at < a[j].at }

func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i+1, j+1
}

func (a *alarms) Push(x any) {
	one, _ := x.(*alarm)
	*a = append(*a, one)
	one.index = len(*a)
}

func (a *alarms) Pop() any {
	last := len(*a) - 1
	one := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	one.index = 0
	return one
}
