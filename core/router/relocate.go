package router

import (
	"tridge/core/confirm"
	"tridge/core/queue"
)

// relocateBytes is about how many bytes of bodies Relocate writes in one record; a larger message is alone in its own.
const relocateBytes = 1 << 20

// Relocate moves deliveries to the end of another durable queue, at most some relocateBytes in one record of the log:
// no crash has one in both or in neither. There they say that they came by the exchange of the given name, which need
// not exist. The receipt is safe when all have moved.
//
// n is how many have moved; with an error the others are still the caller's.
func (r *Router) Relocate(from *queue.Subscription, ds []queue.Delivery, to *queue.Local, exchange string) (n int, receipt confirm.Receipt, err error) {
	for n < len(ds) {
		part, size := ds[n:n], 0
		for n+len(part) < len(ds) && (len(part) == 0 || size < relocateBytes) {
			end := End{from, ds[n+len(part) : n+len(part)+1], queue.Ack}
			if err := r.load(&end); err != nil {
				return n, receipt, err
			}
			size += len(end.Deliveries[0].Message.Body)
			part = ds[n : n+len(part)+1]
		}
		safe, err := r.relocate(from.Queue(), part, to, exchange)
		if err != nil {
			return n, receipt, err
		}
		receipt = receipt.Join(safe)
		n += len(part)
	}
	return n, receipt, nil
}

// relocate moves as many as fit one record.
func (r *Router) relocate(from *queue.Local, ds []queue.Delivery, to *queue.Local, exchange string) (confirm.Receipt, error) {
	var tx queue.Tx
	for i := range ds {
		moved := *ds[i].Message
		moved.Exchange = exchange
		tx.Publishes = append(tx.Publishes, queue.Publish{Message: &moved, Queues: []uint32{to.ID()}})
	}
	tx.Acks = appendRefs(tx.Acks, from.ID(), ds)
	at, receipt, err := r.log.AppendTx(&tx, nil)
	if err != nil {
		return confirm.Receipt{}, err
	}
	from.Ended(ds, queue.Ack)
	p := Publisher{router: r, whole: true} // it has been taken already: a limit that a policy sets does not lose it now
	target := []*queue.Local{to}
	for i := range tx.Publishes {
		p.put(tx.Publishes[i].Message, at[i], target)
	}
	return receipt, nil
}
