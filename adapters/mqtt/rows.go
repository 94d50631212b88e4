package mqtt

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tridge/core/queue"
)

// The rows of persistent sessions; format.md draws them. separator cannot occur in client identifiers and filters.
const separator = "\x00"

// sessionRow is the value of a session's row.
type sessionRow struct {
	Expiry uint32 `json:"expiry"` // seconds after the connection ends
	EndsAt int64  `json:"endsAt"` // Unix ms; 0 while connected, and for never
}

// filterRow is the value of a filter's row.
type filterRow struct {
	QoS               byte   `json:"qos"`
	NoLocal           bool   `json:"noLocal,omitempty"`
	RetainAsPublished bool   `json:"retainAsPublished,omitempty"`
	RetainHandling    byte   `json:"retainHandling,omitempty"`
	Identifier        uint32 `json:"identifier,omitempty"`
}

// The states of a sent QoS 2 packet identifier.
const (
	rowSent     = 0 // PUBLISH may have left
	rowReleased = 1 // PUBREC came
)

func (s *clientSession) prefix() string { return s.key.vhost + separator + s.key.clientID }

func rowValue(v any) []byte {
	value, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs always marshal
	}
	return value
}

func (s *clientSession) row(endsAt int64) queue.Row {
	return queue.Row{Table: queue.TableMQTTSession, Key: s.prefix(), Value: rowValue(sessionRow{s.expiry, endsAt})}
}

func (s *clientSession) filterRow(sub *subscription) queue.Row {
	return queue.Row{Table: queue.TableMQTTSession, Key: s.prefix() + separator + sub.filter, Value: rowValue(filterRow{
		sub.qos, sub.noLocal, sub.retainAsPublished, sub.retainHandling, sub.identifier,
	})}
}

func (s *clientSession) filterTombstone(filter string) queue.Row {
	return queue.Row{Table: queue.TableMQTTSession, Key: s.prefix() + separator + filter}
}

func (s *clientSession) idKey(id uint16) string {
	return s.prefix() + separator + strconv.Itoa(int(id))
}

// receivedRow says that a QoS 2 packet identifier is in use by the client; gone says that it was released.
func (s *clientSession) receivedRow(id uint16, gone bool) queue.Row {
	row := queue.Row{Table: queue.TableMQTTReceived, Key: s.idKey(id)}
	if !gone {
		row.Value = []byte{}
	}
	return row
}

// sentRow says which delivery a QoS 2 packet identifier stands for; 0 is a retained message, which no queue holds.
func (s *clientSession) sentRow(id uint16, state byte, delivery uint64) queue.Row {
	return queue.Row{
		Table: queue.TableMQTTSent, Key: s.idKey(id),
		Value: binary.BigEndian.AppendUint64([]byte{state}, delivery),
	}
}

func (s *clientSession) sentTombstone(id uint16) queue.Row {
	return queue.Row{Table: queue.TableMQTTSent, Key: s.idKey(id)}
}

// tombstones removes every row of the session.
func (s *clientSession) tombstones() []queue.Row {
	rows := []queue.Row{{Table: queue.TableMQTTSession, Key: s.prefix()}}
	for i := range s.filters {
		rows = append(rows, s.filterTombstone(s.filters[i].filter))
	}
	for id := range s.received {
		rows = append(rows, s.receivedRow(id, true))
	}
	for id := range s.inflight.all() {
		if s.inflight.slot(id).qos == qos2 {
			rows = append(rows, s.sentTombstone(id))
		}
	}
	return rows
}

// restore builds the sessions from their rows. Rows whose session is gone are what a crash left between two records:
// they are removed.
func (s *Server) restore() error {
	now := time.Now().UnixMilli()
	var filters, orphans []queue.Row
	for key, value := range s.config.State.Range(queue.TableMQTTSession) {
		parts := strings.SplitN(key, separator, 3)
		if len(parts) == 3 {
			filters = append(filters, queue.Row{Table: queue.TableMQTTSession, Key: key, Value: value})
			continue
		}
		var row sessionRow
		if err := json.Unmarshal(value, &row); err != nil || len(parts) != 2 {
			return fmt.Errorf("session row %q: malformed", key)
		}
		host, ok := s.config.Host(parts[0])
		if !ok {
			return fmt.Errorf("session row %q: no such virtual host", key)
		}
		cs := &clientSession{key: sessionKey{parts[0], parts[1]}}
		cs.host, cs.alive, cs.durable, cs.expiry = host, true, true, row.Expiry
		if q, err := host.Router.Queue(queueName(parts[1]), 0); err == nil {
			cs.queue = q
		}
		switch {
		case row.EndsAt != 0:
			cs.endsAt = row.EndsAt
		case row.Expiry != never:
			cs.endsAt = now + int64(row.Expiry)*1000
		}
		s.sessions[cs.key] = cs
	}
	for _, row := range filters {
		parts := strings.SplitN(row.Key, separator, 3)
		cs := s.sessions[sessionKey{parts[0], parts[1]}]
		var v filterRow
		if err := json.Unmarshal(row.Value, &v); err != nil {
			return fmt.Errorf("filter row %q: malformed", row.Key)
		}
		if cs == nil {
			orphans = append(orphans, queue.Row{Table: row.Table, Key: row.Key})
			continue
		}
		cs.filters = append(cs.filters, newSubscription(
			filterRequest{parts[2], v.QoS, v.NoLocal, v.RetainAsPublished, v.RetainHandling}, v.Identifier))
	}
	for _, cs := range s.sessions {
		s.subscriptions.Add(int64(len(cs.filters)))
	}
	if err := s.restoreShares(); err != nil {
		return err
	}
	if err := s.restoreWills(); err != nil {
		return err
	}
	for _, table := range []queue.Table{queue.TableMQTTReceived, queue.TableMQTTSent} {
		for key, value := range s.config.State.Range(table) {
			cs, id, err := s.ofRow(key)
			switch {
			case err != nil:
				return err
			case cs == nil:
				orphans = append(orphans, queue.Row{Table: table, Key: key})
			case table == queue.TableMQTTReceived:
				cs.receive(id, false)
			case len(value) != 9:
				return fmt.Errorf("packet identifier row %q: malformed", key)
			default:
				cs.inflight.restore(id, value[0] == rowReleased, binary.BigEndian.Uint64(value[1:]))
			}
		}
	}
	s.mu.Lock()
	for _, cs := range s.sessions {
		if at := cs.due(); at != 0 {
			s.arm(cs, at)
		}
	}
	s.setTimer()
	s.mu.Unlock()
	if len(orphans) == 0 {
		return nil
	}
	_, err := s.config.State.Put(orphans...)
	return err
}

// ofRow returns the session and the packet identifier that the key of a row names.
func (s *Server) ofRow(key string) (*clientSession, uint16, error) {
	parts := strings.Split(key, separator)
	if len(parts) != 3 {
		return nil, 0, fmt.Errorf("packet identifier row %q: malformed", key)
	}
	id, err := strconv.ParseUint(parts[2], 10, 16)
	if err != nil || id == 0 {
		return nil, 0, fmt.Errorf("packet identifier row %q: malformed", key)
	}
	return s.sessions[sessionKey{parts[0], parts[1]}], uint16(id), nil
}

// receive notes a QoS 2 identifier of the client.
func (s *clientSession) receive(id uint16, counted bool) {
	if s.received == nil {
		s.received = map[uint16]bool{}
	}
	s.received[id] = counted
}
