package retained

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
)

// Store holds the retained messages of one virtual host. It is safe for concurrent use.
type Store struct {
	// immutable
	vhost string
	log   queue.Log
	slog  *slog.Logger

	// guarded by mu; leaf: call nothing while held
	mu         sync.RWMutex
	root       node
	newest     uint64 // the highest Pos.Seq of a value
	len        int
	graves     []*value // removed lately, oldest first
	unreadable uint64   // values removed because the log could not read them
}

// graveyard is how many removed values are remembered: as many as publishers could overtake each other by.
const graveyard = 1024

// value is where the last message of a key is.
type value struct {
	key     string
	at      queue.Pos
	since   uint64 // the Pos.Seq it had before it was written again, 0 when it was not
	expires int64  // Unix ms, 0 for never
	cleared bool   // removed; remembered for a while so that a message overtaken by its removal does not come back
	ours    bool   // removed because it could not be read or has expired, and not by a publisher
}

// separator keeps virtual hosts apart in the rows' keys. It is not a legal byte of a virtual host's name.
const separator = "\x00"

// New returns an empty store. log is told of messages that cannot be read; nil: nobody is.
func New(vhost string, messages queue.Log, log *slog.Logger) *Store {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Store{vhost: vhost, log: messages, slog: log}
}

// Row is written in the record of m: it makes m the last value of its key, or removes the value when the body is empty
// ([MQTT-3.3.1-6], [MQTT-3.3.1-10]).
func (s *Store) Row(m *message.Message) queue.Row {
	row := queue.Row{Table: queue.TableRetained, Key: s.vhost + separator + m.Key}
	if len(m.Body) > 0 {
		row.Value, row.Message = []byte{}, true
	}
	return row
}

// Keep makes m, whose record is at position at, the last value of its key, unless a later one is known already.
func (s *Store) Keep(m *message.Message, at queue.Pos) {
	s.keepAgain(m, s.set(&value{key: m.Key, at: at, expires: m.Expires, cleared: len(m.Body) == 0}))
}

// Restore takes over a row found in the log at start; the deadline is read with the message. It answers false for a
// row of another virtual host.
func (s *Store) Restore(rowKey string, at queue.Pos) bool {
	key, ok := strings.CutPrefix(rowKey, s.vhost+separator)
	if ok {
		s.set(&value{key: key, at: at})
	}
	return ok
}

// set makes v the last value of its key, unless a later one is known. It returns what has to be written again, because the
// log does not have it last: a row of ours has come behind it. Mostly nil.
func (s *Store) set(v *value) (again *value) {
	v.key = strings.Clone(v.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.place(v)
}

// place is set with mu held.
func (s *Store) place(v *value) (again *value) {
	n := s.root.make(v.key)
	s.newest = max(s.newest, v.at.Seq)
	switch old := n.value; {
	case old == nil:
	case old.at.Seq > v.at.Seq: // overtaken
		if old.ours && !v.cleared || !old.ours && old.first() < v.first() {
			return v
		}
		return nil
	case !old.ours && !v.ours && old.first() > v.first(): // v was written again when old had come already
		return old
	}
	if n.value != nil && !n.value.cleared {
		s.len--
	}
	n.value = v
	if !v.cleared {
		s.len++
		return nil
	}
	s.graves = append(s.graves, v)
	if len(s.graves) > graveyard {
		s.root.remove(s.graves[0].key, s.graves[0])
		s.graves[0] = nil
		s.graves = s.graves[1:]
	}
	return nil
}

// Len is the number of keys with a value.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.len
}

// Unreadable is how many values have been removed because the log could not read them.
func (s *Store) Unreadable() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.unreadable
}

// lose removes a value that cannot be read: every subscriber to come would meet it.
func (s *Store) lose(v *value, why error) {
	s.slog.Error("a retained message cannot be read and is removed", "vhost", s.vhost, "key", v.key, "message", v.at.Seq,
		"segment", v.at.Segment, "offset", v.at.Offset, "err", why)
	if s.forget(v) {
		s.mu.Lock()
		s.unreadable++
		s.mu.Unlock()
	}
}

// forget removes a value, in the log as well, as a publisher would. One that cannot be removed now is met, and tried, again.
func (s *Store) forget(v *value) bool {
	removal := &message.Message{Key: v.key, Guarantee: message.AtLeastOnce, Retain: true}
	at, _, err := s.log.Append(removal, nil, s.Row(removal))
	if err != nil {
		s.slog.Error("a retained message that cannot be read, or has expired, is still there", "vhost", s.vhost, "key", v.key, "err", err)
		return false
	}
	s.mu.Lock()
	other := v
	if n := s.root.get(v.key); n != nil {
		other = n.value
	}
	if other == v {
		s.place(&value{key: v.key, at: at, cleared: true, ours: true})
	}
	s.mu.Unlock()
	if other == v {
		return true
	}
	if other != nil && !other.cleared && other.at.Seq < at.Seq { // a publisher's, and our row has removed its
		s.keepAgain(nil, other)
	}
	return false
}

// first is the Pos.Seq under which subscribers first could find v.
func (v *value) first() uint64 {
	if v.since != 0 {
		return v.since
	}
	return v.at.Seq
}

// keepAgain writes v, whose row one of ours has ended, once more, and what publishers meanwhile have made of its key. m is
// v's message, nil to read it. With a nil v there is nothing to do.
func (s *Store) keepAgain(m *message.Message, v *value) {
	for v != nil {
		var err error
		if v.cleared {
			m = &message.Message{Key: v.key, Guarantee: message.AtLeastOnce, Retain: true}
		} else if m == nil {
			m, err = s.log.Read(v.at)
		}
		var at queue.Pos
		if err == nil {
			at, _, err = s.log.Append(m, nil, s.Row(m))
		}
		if err != nil {
			s.slog.Error("retained message not kept", "vhost", s.vhost, "key", v.key, "err", err)
			return
		}
		m, v = nil, s.set(&value{key: v.key, at: at, since: v.first(), expires: m.Expires, cleared: v.cleared})
	}
}

// What a cursor looks at before it gives the store up to others, and how many positions it keeps meanwhile.
const (
	pageValues = 256
	pageVisits = 4096
)

// Cursor walks over the retained messages that match. It keeps a portion of their positions, however many there are: who
// subscribes to everything and reads nothing costs no more than others.
type Cursor struct {
	store    *Store
	walk     walk
	newest   uint64 // what has come since is no longer this cursor's
	found    []*value
	last     string // the key it stands at
	begun    bool
	finished bool
}

// Open returns a cursor over the values there are now whose keys match pattern: * one word, # zero or more at the end.
// noDollar skips keys that begin with $ ([MQTT-4.7.2-1]).
func (s *Store) Open(pattern string, noDollar bool) *Cursor {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &Cursor{store: s, walk: walk{pattern: pattern, noDollar: noDollar, most: pageValues}, newest: s.newest}
}

// turn finds the next portion, which may be empty.
func (c *Cursor) turn() {
	w := &c.walk
	w.found, w.path, w.visits = w.found[:0], w.path[:0], pageVisits
	c.store.mu.RLock()
	c.finished = w.below(&c.store.root, 0, c.last, c.begun)
	c.store.mu.RUnlock()
	c.found, c.last, c.begun = w.found, string(w.path), true
}

// Next returns the next message; ok is false at the end. Expired ones are left out and removed, and those replaced or removed
// since the cursor was opened are left out: the subscriber has those from its subscription. One that cannot be read is
// removed with a count; an error is about the log.
func (c *Cursor) Next() (m *message.Message, ok bool, err error) {
	for len(c.found) > 0 || !c.finished {
		if len(c.found) == 0 {
			c.turn()
			continue
		}
		v := c.found[0]
		c.found = c.found[1:]
		now := time.Now().UnixMilli()
		v = c.store.stillThere(v)
		if v == nil || v.first() > c.newest {
			continue
		}
		if v.expires != 0 && v.expires <= now {
			c.store.forget(v)
			continue
		}
		m, err := c.store.log.Read(v.at)
		if err != nil {
			if there := c.store.stillThere(v); there != v { // its record may be gone
				if there != nil {
					c.found = append([]*value{there}, c.found...)
				}
				continue
			}
			if errors.Is(err, queue.ErrUnreadable) {
				c.store.lose(v, err)
				continue
			}
			return nil, false, err
		}
		if m.Expired(now) {
			c.store.forget(v)
			continue
		}
		return m, true, nil
	}
	return nil, false, nil
}

// stillThere returns what is the last value of v's key now: v, or another one that a cursor may know by its age; nil for
// none.
func (s *Store) stillThere(v *value) *value {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := s.root.get(v.key); n != nil && n.value != nil && !n.value.cleared {
		return n.value
	}
	return nil
}
