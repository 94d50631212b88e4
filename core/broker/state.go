package broker

import (
	"encoding/binary"
	"iter"
	"sync"

	"tridge/core/confirm"
	"tridge/core/queue"
)

// queueIDs gives out queue ids. The log has a mark that is raised in steps, so that an id is never used twice, also
// when the queue that had the highest one is long forgotten.
type queueIDs struct {
	mu             sync.Mutex
	next, reserved uint32
}

// idStep is how many ids one row reserves.
const idStep = 1024

// take returns an id and the rows to be written before it is used.
func (q *queueIDs) take() (uint32, []queue.Row) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next++
	if q.next <= q.reserved {
		return q.next, nil
	}
	q.reserved = q.next + idStep - 1
	value := binary.BigEndian.AppendUint32(nil, q.reserved)
	return q.next, []queue.Row{{Table: queue.TableCounters, Key: keyQueueIDs, Value: value}}
}

// State is the durable tables of the adapters. The broker does not know what is in them.
type State struct {
	log queue.Log

	mu    sync.Mutex
	found map[queue.Table]map[string][]byte // what the log held at start, until somebody asks
}

// Put writes rows as one record; the receipt is safe when they are.
func (s *State) Put(rows ...queue.Row) (confirm.Receipt, error) {
	_, receipt, err := s.log.AppendTx(&queue.Tx{Rows: rows}, nil)
	return receipt, err
}

// Range iterates, once, over what the log held of a table when it was opened. Key and value belong to the caller. The
// table's owner keeps its own account from then on.
func (s *State) Range(table queue.Table) iter.Seq2[string, []byte] {
	s.mu.Lock()
	rows := s.found[table]
	delete(s.found, table)
	s.mu.Unlock()
	return func(yield func(string, []byte) bool) {
		for key, value := range rows {
			if !yield(key, value) {
				return
			}
		}
	}
}
