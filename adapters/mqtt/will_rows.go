package mqtt

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"tridge/core/queue"
)

// willRow is the value of a will's row (format.md).
type willRow struct {
	At    int64  `json:"at"`    // Unix ms at which it is published; 0 while its client is connected
	Came  int64  `json:"came"`  // Unix ms of the CONNECT
	Delay uint32 `json:"delay"` // seconds
	User  string `json:"user"`

	Topic          string      `json:"topic"`
	Payload        []byte      `json:"payload"`
	QoS            byte        `json:"qos"`
	Retain         bool        `json:"retain,omitempty"`
	Format         *byte       `json:"format,omitempty"`
	Expiry         *uint32     `json:"expiry,omitempty"`
	ContentType    *string     `json:"contentType,omitempty"`
	ResponseTopic  string      `json:"responseTopic,omitempty"`
	Correlation    *[]byte     `json:"correlation,omitempty"`
	UserProperties [][2]string `json:"userProperties,omitempty"`
}

// newWillKey is the key of the row of another will of a client.
func newWillKey(key sessionKey) string {
	return key.vhost + separator + key.clientID + separator + rand.Text()
}

// value is the row of a will.
func (w *delayedWill) value() queue.Row {
	p := &w.will.publish
	v := willRow{
		At: w.at, Came: w.came, Delay: w.will.delay, User: w.user, Topic: p.topic, Payload: p.payload, QoS: p.qos, Retain: p.retain,
		Format: given(p.hasFormat, p.format), Expiry: given(p.hasExpiry, p.expiry), ContentType: given(p.hasContentType, p.contentType),
		ResponseTopic: p.responseTopic, Correlation: given(p.hasCorrelation, p.correlation),
	}
	for _, u := range p.userProperties {
		v.UserProperties = append(v.UserProperties, [2]string{u.Key, u.Val})
	}
	return queue.Row{Table: queue.TableMQTTWill, Key: w.row, Value: rowValue(v)}
}

// given is a pointer to v, nil when it was not given: to MQTT that is another thing than a zero.
func given[T any](is bool, v T) *T {
	if !is {
		return nil
	}
	return &v
}

func (v *willRow) will(row string) *delayedWill {
	p := publishPacket{topic: v.Topic, payload: v.Payload, qos: v.QoS, retain: v.Retain, responseTopic: v.ResponseTopic, private: true}
	if v.Format != nil {
		p.hasFormat, p.format = true, *v.Format
	}
	if v.Expiry != nil {
		p.hasExpiry, p.expiry = true, *v.Expiry
	}
	if v.ContentType != nil {
		p.hasContentType, p.contentType = true, *v.ContentType
	}
	if v.Correlation != nil {
		p.hasCorrelation, p.correlation = true, *v.Correlation
	}
	for _, u := range v.UserProperties {
		p.userProperties = append(p.userProperties, userProperty{Key: u[0], Val: u[1]})
	}
	return &delayedWill{at: v.At, came: v.Came, row: row, user: v.User, will: &willPacket{publish: p, delay: v.Delay}}
}

func (w *delayedWill) tombstone() queue.Row {
	return queue.Row{Table: queue.TableMQTTWill, Key: w.row}
}

// restoreWills gives sessions the wills that the gateway had not published when it ended. To a client that was connected
// the end of the gateway is the loss of its connection: its will is due after its delay, or with its session, which is now
// when it has none [MQTT-3.1.2-8]. Of several wills of a client all but the last were overdue.
func (s *Server) restoreWills() error {
	now := time.Now().UnixMilli()
	var late []overdueWill
	for key, value := range s.config.State.Range(queue.TableMQTTWill) {
		parts := strings.Split(key, separator)
		var v willRow
		if err := json.Unmarshal(value, &v); err != nil || len(parts) < 2 { // two: as it was written when a client had one row
			return fmt.Errorf("will row %q: malformed", key)
		}
		vhost, clientID := parts[0], parts[1]
		host, ok := s.config.Host(vhost)
		if !ok {
			return fmt.Errorf("will row %q: no such virtual host", key)
		}
		k := sessionKey{vhost, clientID}
		cs := s.sessions[k]
		if cs == nil {
			cs = &clientSession{key: k}
			cs.host = host
			s.sessions[k] = cs
		}
		w := v.will(key)
		if cs.will != nil {
			if w.came < cs.will.came {
				w, cs.will = cs.will, w
			}
			late = append(late, overdueWill{host, k, cs.will})
		}
		cs.will = w
		switch {
		case !cs.alive:
			cs.will.at = now
		case cs.will.at == 0:
			cs.will.at = now + int64(cs.will.will.delay)*1000
		}
	}
	slices.SortFunc(late, func(a, b overdueWill) int { return cmp.Compare(a.will.came, b.will.came) })
	for _, w := range late {
		s.overdue.list, s.overdue.bytes = append(s.overdue.list, w), s.overdue.bytes+w.size()
	}
	s.overdue.count.Store(int32(len(late)))
	return nil
}
