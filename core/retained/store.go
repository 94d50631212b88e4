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
	len        int
	graves     []*value // removed lately, oldest first
	unreadable uint64   // values removed because the log could not read them
}

// graveyard is how many removed values are remembered: as many as publishers could overtake each other by.
const graveyard = 1024

// node is one word of a key.
type node struct {
	children map[string]*node
	value    *value
}

// value is where the last message of a key is.
type value struct {
	key     string
	at      queue.Pos
	expires int64 // Unix ms, 0 for never
	cleared bool  // removed; remembered for a while so that a message overtaken by its removal does not come back
	ours    bool  // removed because it could not be read, and not by a publisher
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
	v := &value{key: m.Key, at: at, expires: m.Expires, cleared: len(m.Body) == 0}
	if s.set(v) || v.cleared {
		return
	}
	// What removed the value before this one because it could not be read must not remove this one, too.
	again, _, err := s.log.Append(m, nil, s.Row(m))
	if err != nil {
		s.slog.Error("retained message not kept", "vhost", s.vhost, "key", m.Key, "err", err)
		return
	}
	s.set(&value{key: m.Key, at: again, expires: m.Expires})
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

// set makes v the last value of its key, unless a later one is known. It answers false when that is no publisher's.
func (s *Store) set(v *value) bool {
	v.key = strings.Clone(v.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &s.root
	for word := range strings.SplitSeq(v.key, ".") {
		next := n.children[word]
		if next == nil {
			if n.children == nil {
				n.children = map[string]*node{}
			}
			next = &node{}
			n.children[word] = next
		}
		n = next
	}
	if n.value != nil && n.value.at.Seq > v.at.Seq {
		return !n.value.ours // overtaken: the log has the other one last
	}
	if n.value != nil && !n.value.cleared {
		s.len--
	}
	n.value = v
	if !v.cleared {
		s.len++
		return true
	}
	s.graves = append(s.graves, v)
	if len(s.graves) > graveyard {
		s.root.prune(s.graves[0].key, s.graves[0])
		s.graves[0] = nil
		s.graves = s.graves[1:]
	}
	return true
}

// prune removes the removed value v of key, and the nodes that are empty then. It reports whether n is.
func (n *node) prune(key string, v *value) (empty bool) {
	word, rest, more := strings.Cut(key, ".")
	child := n.children[word]
	if child == nil {
		return false
	}
	gone := false
	if more {
		gone = child.prune(rest, v)
	} else if child.value == v {
		child.value = nil
		gone = len(child.children) == 0
	}
	if gone {
		delete(n.children, word)
	}
	return len(n.children) == 0 && n.value == nil
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

// lose removes a value that cannot be read, in the log as well, as a publisher would: every subscriber to come would meet
// it. One that cannot be removed now is met, and tried, again.
func (s *Store) lose(v *value, why error) {
	s.slog.Error("a retained message cannot be read and is removed", "vhost", s.vhost, "key", v.key, "message", v.at.Seq,
		"segment", v.at.Segment, "offset", v.at.Offset, "err", why)
	removal := &message.Message{Key: v.key, Guarantee: message.AtLeastOnce, Retain: true}
	at, _, err := s.log.Append(removal, nil, s.Row(removal))
	if err != nil {
		s.slog.Error("a retained message that cannot be read is still there", "vhost", s.vhost, "key", v.key, "err", err)
		return
	}
	s.set(&value{key: v.key, at: at, cleared: true, ours: true})
	s.mu.Lock()
	s.unreadable++
	s.mu.Unlock()
}

// Cursor walks over the retained messages that matched when it was opened.
type Cursor struct {
	store *Store
	found []*value
}

// Open returns a cursor over the values whose keys match pattern: * one word, # zero or more at the end. noDollar skips
// keys that begin with $ ([MQTT-4.7.2-1]). Only positions are copied.
func (s *Store) Open(pattern string, noDollar bool) *Cursor {
	c := &Cursor{store: s}
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.root.match(pattern, true, func(v *value) {
		if !v.cleared && !(noDollar && strings.HasPrefix(v.key, "$")) {
			c.found = append(c.found, v)
		}
	})
	return c
}

// Next returns the next message; ok is false at the end. Expired ones are left out, as are those replaced or removed
// since the cursor was opened: the subscriber has those from its subscription. One that cannot be read is removed with a
// count; an error is about the log.
func (c *Cursor) Next() (m *message.Message, ok bool, err error) {
	for len(c.found) > 0 {
		v := c.found[0]
		c.found = c.found[1:]
		now := time.Now().UnixMilli()
		if v.expires != 0 && v.expires <= now || !c.store.current(v) {
			continue
		}
		m, err := c.store.log.Read(v.at)
		if err != nil {
			if !c.store.current(v) {
				continue // replaced while we looked: its record may be gone
			}
			if errors.Is(err, queue.ErrUnreadable) {
				c.store.lose(v, err)
				continue
			}
			return nil, false, err
		}
		if m.Expired(now) {
			continue
		}
		return m, true, nil
	}
	return nil, false, nil
}

// current reports whether v is still the last value of its key.
func (s *Store) current(v *value) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := &s.root
	for word := range strings.SplitSeq(v.key, ".") {
		if n = n.children[word]; n == nil {
			return false
		}
	}
	return n.value == v
}

// match calls found for every value below n whose remaining words match pattern; more is false when no word is left.
func (n *node) match(pattern string, more bool, found func(*value)) {
	if !more {
		if n.value != nil {
			found(n.value)
		}
		return
	}
	word, rest, left := strings.Cut(pattern, ".")
	switch word {
	case "#":
		n.all(found)
	case "*":
		for _, child := range n.children {
			child.match(rest, left, found)
		}
	default:
		if child := n.children[word]; child != nil {
			child.match(rest, left, found)
		}
	}
}

// all calls found for n and everything below.
func (n *node) all(found func(*value)) {
	if n.value != nil {
		found(n.value)
	}
	for _, child := range n.children {
		child.all(found)
	}
}
