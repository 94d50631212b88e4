package queue

// Ended ends deliveries whose end the caller has written to the log itself, in a record with other things: Ack, or
// Reject when the dead letters, if the queue has any, have been handed over in the same record.
func (q *Local) Ended(ds []Delivery, how Outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unacked -= len(ds)
	switch n := uint64(len(ds)); {
	case how == Ack:
		q.counts.acked += n
	case q.laws().DeadLetter != nil:
		q.counts.lost().deadLettered += n
	default:
		q.counts.lost().dropped += n
	}
}
