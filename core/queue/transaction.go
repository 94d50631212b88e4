package queue

// Ended ends deliveries whose end the caller has written to the log itself, in a record with other things: Ack, or
// Reject when the dead letters, if the queue has any, have been handed over in the same record.
func (q *Local) Ended(ds []Delivery, how Outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unacked -= len(ds)
	switch {
	case how == Ack:
		q.stats.Acked += uint64(len(ds))
	case q.opts.DeadLetter != nil:
		q.stats.DeadLettered += uint64(len(ds))
	default:
		q.stats.Dropped += uint64(len(ds))
	}
}
