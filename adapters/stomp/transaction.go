package stomp

import (
	"errors"
	"strings"
	"time"

	"tridge/adapters/stomp/wire"
	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// transaction is what a client has said between BEGIN and COMMIT: nothing of it has happened yet. It belongs to the
// reader goroutine.
type transaction struct {
	messages []*message.Message
	to       []destination // by message
	after    map[int]int64 // milliseconds, by message
	ends     []ending
	size     int // bytes that it holds, roughly
}

// ending is a delivery and how it is to end. It has left its subscription's list of what is unsettled and the window, so
// nobody can settle it twice, an UNSUBSCRIBE leaves it alone, and a client that acknowledges one message after the other
// in a transaction gets the next one, as ActiveMQ has it.
type ending struct {
	from *subscription
	sent
	how queue.Outcome
}

// keepCost is what one message or acknowledgement of a transaction costs beside its bytes.
const keepCost = 128

// transactionOf returns the transaction that a frame belongs to.
func (c *conn) transactionOf(f *wire.Frame, id string) (*transaction, error) {
	tx := c.transactions[id]
	if tx == nil {
		return nil, failure("Transaction not found", "%s: no transaction %q is open", f.Command, id)
	}
	return tx, nil
}

// begin opens a transaction. STOMP 1.2, "BEGIN".
func (c *conn) begin(f *wire.Frame) error {
	id, ok := f.Get(headerTransaction)
	switch {
	case !ok || id == "":
		return missingHeader(f.Command, headerTransaction)
	case c.transactions[id] != nil:
		return failure("Duplicate transaction", "the transaction %q is open already", id)
	case len(c.transactions) >= c.server.limits.Transactions:
		return failure("Too many transactions", "a connection may have %d open", c.server.limits.Transactions)
	}
	c.transactions[strings.Clone(id)] = &transaction{}
	c.acknowledge(f, confirm.Receipt{})
	return nil
}

// keep keeps a SEND for the commit. What would be refused at once is refused now.
func (c *conn) keep(f *wire.Frame, id string, to destination, m *message.Message) error {
	tx, err := c.transactionOf(f, id)
	if err != nil {
		return err
	}
	names, err := c.publisher.Check(m, nil)
	if err != nil {
		return err
	}
	if err := c.grow(tx, max(names, 1)*m.Size()+keepCost); err != nil { // routes have it written under several names
		return err
	}
	if c.ingress.delay > 0 {
		if tx.after == nil {
			tx.after = map[int]int64{}
		}
		tx.after[len(tx.messages)] = c.ingress.delay
	}
	tx.messages, tx.to = append(tx.messages, m), append(tx.to, to)
	c.acknowledge(f, confirm.Receipt{})
	return nil
}

// grow counts what a transaction holds more.
func (c *conn) grow(tx *transaction, size int) error {
	tx.size += size
	if c.kept += size; c.kept > c.server.limits.Transaction {
		return failure("Transaction too large", "the open transactions of a connection may hold %d bytes", c.server.limits.Transaction)
	}
	return nil
}

// settleLater takes deliveries from their subscription to have them end with the commit.
func (c *conn) settleLater(f *wire.Frame, id string, s *subscription, sequence uint64, how queue.Outcome) (known bool, err error) {
	tx, err := c.transactionOf(f, id)
	if err != nil {
		return false, err
	}
	before, size := len(tx.ends), 0
	b := c.out.Begin()
	known = s.unsettled.each(sequence, s.mode == ackCumulative, func(d *sent) {
		tx.ends = append(tx.ends, ending{s, *d, how})
	})
	s.window.Used -= len(tx.ends) - before
	starved := s.starved && len(tx.ends) > before
	c.out.End(b)
	if starved {
		s.Wake()
	}
	for i := range tx.ends[before:] {
		size += keepCost
		if how == queue.Reject {
			size += tx.ends[before+i].delivery.Size() // its dead letter becomes part of the record
		}
	}
	if err := c.grow(tx, size); err != nil {
		return known, err
	}
	return known, nil
}

// commit has everything of a transaction happen, in one record of the log. When it cannot nothing of it does. STOMP
// 1.2, "COMMIT".
func (c *conn) commit(f *wire.Frame) error {
	id, ok := f.Get(headerTransaction)
	if !ok {
		return missingHeader(f.Command, headerTransaction)
	}
	tx, err := c.transactionOf(f, id)
	if err != nil {
		return err
	}
	if len(tx.messages) > 0 {
		if err := c.inlet.WaitOpen(); err != nil {
			return err
		}
	}
	var declared confirm.Receipt
	now := time.Now().UnixMilli()
	for i, m := range tx.messages {
		letIn(m, now)
		receipt, err := c.prepare(tx.to[i], m)
		if err != nil {
			return err
		}
		declared = declared.Join(receipt)
	}
	receipt, err := c.publisher.Commit(&router.Transaction{
		Messages: tx.messages, After: tx.after, Ends: tx.byQueue(), Whole: true,
	}, func(int, router.Result) {}) // what nobody listens to is receipted, as outside of a transaction
	if err != nil {
		return err // the deliveries go back when the connection ends, which is now
	}
	c.forget(id, tx)
	c.acknowledge(f, receipt.Join(declared))
	return nil
}

// byQueue is how the router wants the ends: those of one subscription that end alike together.
func (tx *transaction) byQueue() (ends []router.End) {
	for i := range tx.ends {
		e := &tx.ends[i]
		taken := e.from.subscription
		if n := len(ends); n == 0 || ends[n-1].Subscription != taken || ends[n-1].How != e.how {
			ends = append(ends, router.End{Subscription: taken, How: e.how})
		}
		last := &ends[len(ends)-1]
		last.Deliveries = append(last.Deliveries, e.delivery)
	}
	return ends
}

// abort forgets a transaction. The deliveries are the client's to settle again. STOMP 1.2, "ABORT".
func (c *conn) abort(f *wire.Frame) error {
	id, ok := f.Get(headerTransaction)
	if !ok {
		return missingHeader(f.Command, headerTransaction)
	}
	tx, err := c.transactionOf(f, id)
	if err != nil {
		return err
	}
	c.forget(id, tx)
	kept := tx.ends[:0]
	b := c.out.Begin()
	for _, e := range tx.ends {
		if e.from.taking == nil { // the subscription has ended meanwhile
			kept = append(kept, e)
			continue
		}
		e.from.unsettled.restore(e.sequence, e.delivery)
		e.from.window.Used++
	}
	c.out.End(b)
	tx.ends = kept
	if err := tx.giveBack(); err != nil {
		return err
	}
	c.acknowledge(f, confirm.Receipt{})
	return nil
}

// forget takes a transaction off the connection.
func (c *conn) forget(id string, tx *transaction) {
	delete(c.transactions, id)
	c.kept -= tx.size
}

// giveBack requeues the deliveries of a transaction that will not be committed: those of every queue, whatever becomes of
// another's.
func (tx *transaction) giveBack() error {
	ends := tx.byQueue()
	tx.ends = nil
	var failed error
	for i := range ends {
		if _, err := ends[i].Subscription.Settle(ends[i].Deliveries, queue.Requeue); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
