package confirm

import (
	"context"
	"errors"
)

// Sink is told the fate of its tickets first..last (inclusive). It is called from the goroutine of the store, outside
// the store's locks, or from within Redeem when the receipt is safe already. It must not block.
type Sink interface {
	Confirmed(first, last uint64, err error)
}

// Ticket names who wants to know and by which number. The zero Ticket asks for nothing.
type Ticket struct {
	To  Sink
	Seq uint64
}

// Done tells the holder of the ticket its fate at once.
func (t Ticket) Done(err error) {
	if t.To != nil {
		t.To.Confirmed(t.Seq, t.Seq, err)
	}
}

// Syncer is a store that can say when it is safe up to a point.
type Syncer interface {
	// AfterSync redeems t once everything up to at is safe. It may call t's sink before it returns.
	AfterSync(at uint64, t Ticket)
}

// Receipt says when something accepted is safe: once By has synced through At. The zero Receipt is safe already.
type Receipt struct {
	By Syncer
	At uint64
}

// Redeem has t called once the receipt is safe; at once when it is safe already.
func (r Receipt) Redeem(t Ticket) {
	switch {
	case t.To == nil:
	case r.By == nil:
		t.To.Confirmed(t.Seq, t.Seq, nil)
	default:
		r.By.AfterSync(r.At, t)
	}
}

// Join returns a receipt that is safe when both are. Receipts of one Syncer join without allocating.
func (r Receipt) Join(s Receipt) Receipt {
	switch {
	case r.By == nil:
		return s
	case s.By == nil:
		return r
	case r.By == s.By:
		return Receipt{By: r.By, At: max(r.At, s.At)}
	}
	return Receipt{By: &joined{r, s}}
}

// Wait blocks until the receipt is safe, failed, or ctx ends. It is for declarations and never for messages.
func (r Receipt) Wait(ctx context.Context) error {
	if r.By == nil {
		return nil
	}
	done := make(waiter, 1)
	r.Redeem(Ticket{To: done})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

type waiter chan error

func (w waiter) Confirmed(_, _ uint64, err error) { w <- err }

// joined waits for two stores.
type joined struct{ a, b Receipt }

func (j *joined) AfterSync(_ uint64, t Ticket) {
	b := &both{t: t, results: make(chan error, 1)}
	j.a.Redeem(Ticket{To: b})
	j.b.Redeem(Ticket{To: b})
}

// both passes the ticket on when the second of two answers is in.
type both struct {
	t       Ticket
	results chan error // holds the first answer
}

func (b *both) Confirmed(_, _ uint64, err error) {
	select {
	case b.results <- err:
	default:
		b.t.Done(errors.Join(<-b.results, err))
	}
}
