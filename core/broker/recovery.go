package broker

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"tridge/core/queue"
	"tridge/core/reply"
	"tridge/core/retained"
	"tridge/core/router"
)

// Keys of queue.TableCounters.
const (
	keyQueueIDs    = "queue-ids"    // every queue id up to and including this number may have been used
	keyReplySecret = "reply-secret" // what reply tokens are signed with
)

// recovery is told what the log holds: all rows first, then the messages.
type recovery struct {
	config Config
	log    *openingLog
	bodies *queue.Budget
	pager  *queue.Pager
	clock  *queue.Clock

	topology []queue.Row
	retained []retainedRow
	counters map[string][]byte
	marks    map[uint32]uint64                 // up to where queues have delivered, by their ids
	tables   map[queue.Table]map[string][]byte // those of adapters

	built    bool
	secret   []byte // of reply tokens
	vhosts   map[string]*VHost
	queues   map[uint32]*queue.Local
	delayed  map[uint32]*queue.Delayed
	gone     map[uint32]queue.Row // of virtual hosts that are not configured and have nothing, by the ids of their delayed messages
	lost     error                // a message of theirs there is after all
	messages int
	waiting  *gatherer               // of messages, on their way to their queues
	orphans  map[uint32]*queue.Local // what waits for queues that are no more, as if they were: it may be millions
}

type retainedRow struct {
	key string
	at  queue.Pos
}

// Row implements queue.Recovery.
func (r *recovery) Row(row queue.Row, at queue.Pos) error {
	switch row.Table {
	case queue.TableTopology:
		row.Value = append([]byte(nil), row.Value...)
		r.topology = append(r.topology, row)
	case queue.TableRetained:
		r.retained = append(r.retained, retainedRow{row.Key, at})
	case queue.TableCounters:
		if r.counters == nil {
			r.counters = map[string][]byte{}
		}
		r.counters[row.Key] = append([]byte(nil), row.Value...)
	case queue.TableDelivered:
		if r.marks == nil {
			r.marks = map[uint32]uint64{}
		}
		id, seq, ok := queue.ReadMark(row)
		if !ok {
			return fmt.Errorf("broker: row %q says nothing about what a queue has delivered", row.Key)
		}
		r.marks[id] = seq
	default:
		if r.tables[row.Table] == nil {
			r.tables[row.Table] = map[string][]byte{}
		}
		r.tables[row.Table][row.Key] = append([]byte{}, row.Value...)
	}
	return nil
}

// Message implements queue.Recovery.
func (r *recovery) Message(at queue.Pos, i queue.Info, queues []uint32) error {
	if err := r.build(); err != nil {
		return err
	}
	r.messages++
	for _, id := range queues {
		r.waiting.add(id, queue.Found{At: at, Info: i})
	}
	return nil
}

// restore hands a queue messages that wait for it.
func (r *recovery) restore(id uint32, found []queue.Found) {
	q := r.queues[id]
	if q == nil {
		if row, ok := r.gone[id]; ok {
			vhost, _ := router.RowVHost(row.Key)
			r.lost = notConfigured(vhost)
			return
		}
		if d := r.delayed[id]; d != nil {
			for i := range found {
				d.Put(queue.Held{Due: found[i].Info.Expires, Pos: found[i].At})
			}
			return
		}
		if q = r.orphans[id]; q == nil {
			if r.orphans == nil {
				r.orphans = map[uint32]*queue.Local{}
			}
			q = queue.New("", id, r.log, queue.Options{Pager: r.pager, Slog: r.config.Slog})
			r.orphans[id] = q
		}
	}
	q.Restore(found...)
}

// build makes the virtual hosts when all rows are known.
func (r *recovery) build() error {
	if r.built {
		return nil
	}
	r.built = true
	r.vhosts, r.queues = map[string]*VHost{}, map[uint32]*queue.Local{}
	r.waiting = newGatherer(r.restore)
	r.delayed = map[uint32]*queue.Delayed{}
	var used uint32
	if v := r.counters[keyQueueIDs]; len(v) == 4 {
		used = binary.BigEndian.Uint32(v)
	}
	ids := &queueIDs{next: used, reserved: used}
	if r.secret = r.counters[keyReplySecret]; r.secret == nil {
		r.secret = reply.NewSecret()
	}
	rows := map[string][]queue.Row{}
	for _, row := range r.topology {
		vhost, err := router.RowVHost(row.Key)
		if err != nil {
			return err
		}
		rows[vhost] = append(rows[vhost], row)
	}
	for _, name := range r.names(rows) {
		book, err := reply.NewBook(r.secret, name)
		if err != nil {
			return err
		}
		v := &VHost{Retained: retained.New(name, r.log, r.config.Slog), Replies: book}
		v.Router = router.New(router.Config{
			Name: name, Log: r.log, Retainer: v.Retained, Replies: book, NextID: ids.take, Bodies: r.bodies, Pager: r.pager, Clock: r.clock, Slog: r.config.Slog,
			Session: r.config.Session,
		})
		queues, err := v.Router.Restore(rows[name])
		if err != nil {
			return err
		}
		for id, q := range queues {
			r.queues[id] = q
			q.RestoreDelivered(r.marks[id])
			ids.next = max(ids.next, id) // a crash may have come before the mark of another virtual host's id
		}
		if id, list := v.Router.Delayed(); id != 0 {
			r.delayed[id] = list
			ids.next = max(ids.next, id)
		}
		for _, row := range r.retained {
			v.Retained.Restore(row.key, row.at)
		}
		r.vhosts[name] = v
		delete(rows, name)
	}
	r.waiting.expect(len(r.queues))
	for name, left := range rows {
		id := uint32(0)
		if len(left) == 1 {
			id = router.RowDelayed(left[0])
		}
		if id == 0 {
			return notConfigured(name)
		}
		// Where its delayed messages waited is all that is left of it, and nobody can take that away.
		if r.gone == nil {
			r.gone = map[uint32]queue.Row{}
		}
		r.gone[id] = left[0]
		r.config.Slog.Info("virtual host is no longer configured, and forgotten", "vhost", name)
	}
	return nil
}

func notConfigured(vhost string) error {
	return fmt.Errorf("broker: the data directory has a virtual host %q that is not configured: its messages would be out of reach", vhost)
}

// names are the virtual hosts to make.
func (r *recovery) names(found map[string][]queue.Row) []string {
	if len(r.config.VHosts) > 0 {
		return r.config.VHosts
	}
	names := slices.Sorted(maps.Keys(found))
	if !slices.Contains(names, DefaultVHost) {
		names = append(names, DefaultVHost)
	}
	return names
}

// complete hands over what is still gathered when the log has told of everything.
func (r *recovery) complete() error {
	if err := r.build(); err != nil {
		return err
	}
	r.waiting.flush()
	r.waiting = nil
	return r.lost
}

// forget writes what a first start makes and ends references of queues that are no more: a crash came between the
// message's record and that of its queue's deletion.
func (r *recovery) forget() error {
	tx := queue.Tx{}
	if r.counters[keyReplySecret] == nil {
		// build made one; all virtual hosts have it.
		tx.Rows = append(tx.Rows, queue.Row{Table: queue.TableCounters, Key: keyReplySecret, Value: r.secret})
	}
	for id := range r.marks {
		if r.queues[id] == nil {
			tx.Rows = append(tx.Rows, queue.Row{Table: queue.TableDelivered, Key: string(queue.AppendMarkKey(nil, id))})
		}
	}
	for _, row := range r.gone {
		tx.Rows = append(tx.Rows, queue.Row{Table: row.Table, Key: row.Key})
	}
	if len(tx.Rows) > 0 {
		if _, _, err := r.log.AppendTx(&tx, nil); err != nil {
			return err
		}
	}
	for id, q := range r.orphans {
		n, err := q.Close(queue.Condition{})
		if err != nil {
			return err
		}
		// A repair declares a queue for messages that have lost theirs, and a start refuses damage: these were deleted.
		r.config.Slog.Warn("messages of a queue that was deleted are dropped: the gateway ended before it had done so",
			"id", id, "messages", n)
		if _, err := q.Discard(); err != nil {
			return err
		}
	}
	return nil
}
