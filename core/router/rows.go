package router

import (
	"encoding/json"
	"fmt"
	"sort"

	"tridge/core/queue"
)

// Declarations are rows of queue.TableTopology. A key is a JSON list: virtual host, kind of object, what names it. A
// value is the declaration as JSON. Declarations are few and rarely written: plain JSON keeps a dump of the log
// readable.

// kindDelayed is the kind of the one row of a virtual host whose value is the id of its queue of delayed messages.
const kindDelayed = "delayed"

type exchangeRow struct{ ExchangeSpec }

type queueRow struct {
	QueueSpec
	ID               uint32
	RawDeadLetterKey []byte `json:",omitempty"` // it need not be UTF-8
}

// bindingRow keeps the keys as bytes: they need not be UTF-8.
type bindingRow struct {
	Binding
	RawKey, RawNewKey []byte
}

func rowKey(parts ...string) string {
	key, err := json.Marshal(parts)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(key)
}

func rowValue(v any) []byte {
	value, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs always marshal
	}
	return value
}

// exchangeRows is what makes an exchange durable: nothing when it is not to be.
func (r *Router) exchangeRows(s *ExchangeSpec) []queue.Row {
	if !s.Durable || s.Owner == System {
		return nil
	}
	return []queue.Row{{Table: queue.TableTopology, Key: rowKey(r.name, "exchange", s.Name), Value: rowValue(exchangeRow{*s})}}
}

// queueRows is what makes a queue durable: nothing when it is not to be.
func (r *Router) queueRows(s *QueueSpec, id uint32) []queue.Row {
	if id == 0 {
		return nil
	}
	return []queue.Row{QueueRow(r.name, *s, id)}
}

// QueueRow is the row that declares a durable queue which the log calls id.
func QueueRow(vhost string, s QueueSpec, id uint32) queue.Row {
	return queue.Row{Table: queue.TableTopology, Key: rowKey(vhost, "queue", s.Name), Value: rowValue(queueRow{s, id, []byte(s.DeadLetterKey)})}
}

// bindingRows is what makes a binding durable: nothing when an end of it is not.
func (r *Router) bindingRows(b *binding) []queue.Row {
	if !b.source.spec.Durable || b.queue != nil && b.queue.queue.ID() == 0 || b.exchange != nil && !b.exchange.spec.Durable {
		return nil
	}
	return []queue.Row{{Table: queue.TableTopology, Key: r.identity(&b.spec), Value: rowValue(bindingRow{b.spec, []byte(b.spec.Key), []byte(b.spec.NewKey)})}}
}

// policyRow is what makes a policy durable.
func (r *Router) policyRow(scope Scope, p *Policy) queue.Row {
	return queue.Row{Table: queue.TableTopology, Key: rowKey(r.name, scope.kind(), p.Name), Value: rowValue(p)}
}

// restorePolicy takes up a policy found in the log. mu is held.
func (r *Router) restorePolicy(scope Scope, value []byte) error {
	var p Policy
	if err := json.Unmarshal(value, &p); err != nil {
		return err
	}
	set, err := r.newPolicy(scope, p)
	if err != nil {
		// Another version may have known more settings. Without this policy the gateway still serves.
		r.slog.Error("a policy in the log does not hold", "vhost", r.name, "err", err)
		return nil
	}
	r.policies.put(scope, p.Name, set)
	return nil
}

// tombstones turns rows into their removal.
func tombstones(rows []queue.Row) []queue.Row {
	for i := range rows {
		rows[i].Value = nil
	}
	return rows
}

// RowVHost returns which virtual host a row of queue.TableTopology belongs to.
func RowVHost(key string) (string, error) {
	var parts []string
	if err := json.Unmarshal([]byte(key), &parts); err != nil || len(parts) < 3 {
		return "", fmt.Errorf("router: topology row %q: malformed key", key)
	}
	return parts[0], nil
}

// RowQueue returns which queue a row of queue.TableTopology declares, and what the log calls it: 0 when the row is about
// something else.
func RowQueue(row queue.Row) (vhost, name string, id uint32, err error) {
	var parts []string
	if row.Table != queue.TableTopology {
		return "", "", 0, nil
	}
	if err := json.Unmarshal([]byte(row.Key), &parts); err != nil || len(parts) < 3 {
		return "", "", 0, fmt.Errorf("router: topology row %q: malformed key", row.Key)
	}
	if parts[1] != "queue" {
		return "", "", 0, nil
	}
	var s queueRow
	if err := json.Unmarshal(row.Value, &s); err != nil {
		return "", "", 0, fmt.Errorf("router: topology row %q: %w", row.Key, err)
	}
	return parts[0], parts[2], s.ID, nil
}

// RowDelayed returns what the log calls the place where delayed messages of a virtual host wait, if row says so, else 0.
func RowDelayed(row queue.Row) (id uint32) {
	var parts []string
	if row.Table != queue.TableTopology || json.Unmarshal([]byte(row.Key), &parts) != nil || len(parts) < 3 || parts[1] != kindDelayed {
		return 0
	}
	if json.Unmarshal(row.Value, &id) != nil {
		return 0
	}
	return id
}

// Restore rebuilds the declarations from the rows found in the log. It returns the queues by what the log calls them,
// so that their messages can be restored.
func (r *Router) Restore(rows []queue.Row) (map[uint32]*queue.Local, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Policies before exchanges before queues before bindings: each needs those before it.
	byKind := map[string][]queue.Row{}
	for _, row := range rows {
		var parts []string
		if err := json.Unmarshal([]byte(row.Key), &parts); err != nil || len(parts) < 3 {
			return nil, fmt.Errorf("router: topology row %q: malformed key", row.Key)
		}
		byKind[parts[1]] = append(byKind[parts[1]], row)
	}
	for _, row := range byKind[kindDelayed] {
		if err := r.restoreDelayed(row.Value); err != nil {
			return nil, fmt.Errorf("router: topology row %q: %w", row.Key, err)
		}
	}
	for _, scope := range [...]Scope{Users, Operators} {
		for _, row := range byKind[scope.kind()] {
			if err := r.restorePolicy(scope, row.Value); err != nil {
				return nil, fmt.Errorf("router: topology row %q: %w", row.Key, err)
			}
		}
	}
	for _, row := range byKind["exchange"] {
		var s exchangeRow
		if err := json.Unmarshal(row.Value, &s); err != nil {
			return nil, fmt.Errorf("router: topology row %q: %w", row.Key, err)
		}
		r.exchanges[s.Name] = newExchange(s.ExchangeSpec)
	}
	for _, x := range r.exchanges {
		r.ruleExchange(x)
	}
	queues := map[uint32]*queue.Local{}
	for _, row := range byKind["queue"] {
		var s queueRow
		if err := json.Unmarshal(row.Value, &s); err != nil {
			return nil, fmt.Errorf("router: topology row %q: %w", row.Key, err)
		}
		s.DeadLetterKey = string(s.RawDeadLetterKey)
		queues[s.ID] = r.addQueue(s.QueueSpec, s.ID).queue
	}
	for _, row := range byKind["binding"] {
		var found bindingRow
		if err := json.Unmarshal(row.Value, &found); err != nil {
			return nil, fmt.Errorf("router: topology row %q: %w", row.Key, err)
		}
		b := found.Binding
		b.Key, b.NewKey = string(found.RawKey), string(found.RawNewKey)
		if err := b.Arguments.Validate(); err != nil {
			return nil, fmt.Errorf("router: topology row %q: %w", row.Key, err)
		}
		n, err := r.newBinding(b, 0)
		if err != nil {
			r.slog.Warn("binding in the log has lost an end", "vhost", r.name, "source", b.Source, "destination", b.Destination, "err", err)
			continue
		}
		r.link(r.identity(&b), n)
	}
	return queues, nil
}

// Exchanges, Queues and Bindings are what is declared now, by name. They are copies.
func (r *Router) Exchanges() []ExchangeSpec {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]ExchangeSpec, 0, len(r.exchanges))
	for _, x := range r.exchanges {
		list = append(list, x.spec)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// ExchangeInfo is an exchange as it is now.
type ExchangeInfo struct {
	ExchangeSpec
	Ruling
}

// ExchangeInfos returns what Exchanges does, and the policies that hold.
func (r *Router) ExchangeInfos() []ExchangeInfo {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]ExchangeInfo, 0, len(r.exchanges))
	for _, x := range r.exchanges {
		list = append(list, ExchangeInfo{x.spec, x.ruling.shown()})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// QueueInfo is a queue as it is now.
type QueueInfo struct {
	QueueSpec
	queue.Stats
	Ruling
}

// QueueInfo returns the queue of that name as it is now, whoever it belongs to.
func (r *Router) QueueInfo(name string) (QueueInfo, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.queues[name]
	if e == nil {
		return QueueInfo{}, false
	}
	return QueueInfo{e.spec, e.queue.Stats(), e.ruling.shown()}, true
}

func (r *Router) Queues() []QueueInfo {
	r.mu.RLock()
	list := make([]QueueInfo, 0, len(r.queues))
	queues := make([]*queue.Local, 0, len(r.queues))
	for _, e := range r.queues {
		list = append(list, QueueInfo{QueueSpec: e.spec, Ruling: e.ruling.shown()})
		queues = append(queues, e.queue)
	}
	r.mu.RUnlock() // there may be 100,000 locks to take
	for i, q := range queues {
		list[i].Stats = q.Stats()
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// BindingsOf are the bindings that lead to the queue of that name.
func (r *Router) BindingsOf(name string) (list []Binding) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.queues[name]
	if e == nil {
		return nil
	}
	for b := range e.incoming {
		list = append(list, b.spec)
	}
	sort.Slice(list, func(i, j int) bool { return r.identity(&list[i]) < r.identity(&list[j]) })
	return list
}

func (r *Router) Bindings() []Binding {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var list []Binding
	for _, x := range r.exchanges {
		for _, b := range x.bindings {
			list = append(list, b.spec)
		}
	}
	sort.Slice(list, func(i, j int) bool { return r.identity(&list[i]) < r.identity(&list[j]) })
	return list
}
