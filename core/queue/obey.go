package queue

// Obey puts the queue under other laws. They must have the same log, Bodies and Clock as those before, and agree with them
// on Single, MaxPriority and DropTransientWhenIdle; the pager stays as it is. What is new counts from now on: an Expires
// begins anew, and messages that wait keep the time at which they expire. Those over a limit stay until Enforce. It waits
// for nothing and calls nobody.
func (q *Local) Obey(l *Laws) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if pager := q.laws().pager; l.pager != pager { // it has lent what the queue is made of
		own := *l
		own.pager = pager
		l = &own
	}
	q.obeyed.Store(l)
	q.renew()
	if q.ready.mortal != 0 || q.laws().Expires != 0 {
		q.arm(0) // not for a surplus, which Enforce is about to look at
	}
}

// Enforce has messages leave that are over a limit: a portion before it returns, and the rest when the clock comes to
// the queue. Without a clock all of them. It is called with no lock held.
func (q *Local) Enforce() error {
	for {
		q.mu.Lock()
		var dropped []Delivery
		if !q.detained(now()) {
			dropped = q.overflowing()
			q.account()
		}
		q.mu.Unlock()
		err := q.depart(dropped, LengthLimit)
		q.mu.Lock()
		q.arm(0)
		q.mu.Unlock()
		if err != nil || len(dropped) == 0 || q.laws().Clock != nil {
			return err
		}
	}
}
