package broker

import (
	"errors"
	"fmt"
	"path/filepath"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/wal"
	"tridge/internal/vfs"
)

// ErrNoQueue says that a data directory has no durable queue of that name.
var ErrNoQueue = errors.New("broker: no such durable queue")

// Export calls begin with the number of messages that wait in a durable queue of a data directory, and then each with
// every one of them, in the order of the log; they are each's to keep. Nobody may have the directory open (ErrInUse), and
// nothing in it changes. An error of begin or each ends it.
func Export(c Config, vhost, name string, begin func(messages int) error, each func(seq uint64, m *message.Message) error) (err error) {
	if c.FS == nil {
		c.FS = vfs.OS{}
	}
	held, err := lock(c.FS, c.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	w := waiting{vhost: vhost, name: name}
	log, err := wal.OpenReader(c.FS, filepath.Join(c.Dir, logDirectory), wal.Options{Log: c.Slog}, &w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if w.id == 0 {
		return fmt.Errorf("%w: %q in vhost %q", ErrNoQueue, name, vhost)
	}
	if err := begin(len(w.at)); err != nil {
		return err
	}
	for _, at := range w.at {
		m, err := log.Read(at)
		if err == nil {
			err = each(at.Seq, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// waiting is a recovery that remembers what one queue has.
type waiting struct {
	vhost, name string
	id          uint32
	at          []queue.Pos
}

// Row implements queue.Recovery.
func (w *waiting) Row(row queue.Row, _ queue.Pos) error {
	vhost, name, id, err := router.RowQueue(row)
	if err == nil && id != 0 && vhost == w.vhost && name == w.name {
		w.id = id
	}
	return err
}

// Message implements queue.Recovery.
func (w *waiting) Message(at queue.Pos, _ queue.Info, queues []uint32) error {
	for _, id := range queues {
		if id == w.id && w.id != 0 {
			w.at = append(w.at, at)
		}
	}
	return nil
}

// Import appends messages to a durable queue of a data directory, as they are, behind those that wait there, until next
// returns nil, and returns how many are safe. The queue's limits do not count. create declares the queue when it is not
// there. Nobody may have the directory open (ErrInUse). An error of next ends it; what came before stays.
func Import(c Config, vhost, name string, create bool, next func() (*message.Message, error)) (n int, err error) {
	b, err := openStill(c)
	if err != nil {
		return 0, err
	}
	defer func() {
		if failed := b.Close(); failed != nil {
			n, err = 0, errors.Join(err, failed) // how many of them are safe only the next start finds out
		}
	}()
	id, err := b.importInto(vhost, name, create)
	if err != nil {
		return 0, err
	}
	for ids := []uint32{id}; ; n++ {
		m, err := next()
		if m == nil || err != nil {
			return n, err
		}
		if _, _, err := b.log.Append(m, ids); err != nil { // Close syncs what is appended
			return n, err
		}
	}
}

// importInto returns what the log calls the queue that messages are imported into.
func (b *Broker) importInto(vhost, name string, create bool) (uint32, error) {
	v, ok := b.VHost(vhost)
	if !ok {
		return 0, fmt.Errorf("broker: there is no vhost %q", vhost)
	}
	q, err := v.Router.Queue(name, 0)
	if create && errors.Is(err, router.ErrNotFound) {
		q, _, err = v.Router.DeclareQueue(router.QueueSpec{Name: name, Durable: true}, 0)
	}
	if errors.Is(err, router.ErrNotFound) || err == nil && q.ID() == 0 {
		return 0, fmt.Errorf("%w: %q in vhost %q", ErrNoQueue, name, vhost)
	}
	if err != nil {
		return 0, err
	}
	return q.ID(), nil
}
