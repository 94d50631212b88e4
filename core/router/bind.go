package router

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"

	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/selector"
)

// Bind adds a binding for the session of that origin; one that is there already is fine. It is durable when both its
// ends are.
func (r *Router) Bind(b Binding, origin uint64) (confirm.Receipt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.newBinding(b, origin)
	if err != nil {
		return confirm.Receipt{}, err
	}
	identity := r.identity(&b)
	if old := n.source.bindings[identity]; old != nil {
		if b.Owner == File && old.spec.Owner == Client {
			old.spec.Owner = File
			old.declared, err = r.write(&queue.Tx{Rows: r.bindingRows(old)})
		}
		return old.declared, err // it may be another's binding that is not safe yet
	}
	receipt, err := r.write(&queue.Tx{Rows: r.bindingRows(n)})
	if err != nil {
		return receipt, err
	}
	n.declared = receipt
	r.link(identity, n)
	return receipt, nil
}

// newBinding resolves both ends. mu is held.
func (r *Router) newBinding(b Binding, origin uint64) (*binding, error) {
	n := &binding{spec: b, source: r.exchanges[b.Source]}
	switch {
	case n.source == nil:
		return nil, r.exchangeError(ErrNotFound, b.Source)
	case b.Source == DefaultExchange:
		return nil, r.exchangeError(ErrReserved, b.Source)
	case b.ToExchange:
		if n.exchange = r.exchanges[b.Destination]; n.exchange == nil {
			return nil, r.exchangeError(ErrNotFound, b.Destination)
		}
		if b.Destination == DefaultExchange && b.NewKey == "" {
			return nil, r.exchangeError(ErrReserved, b.Destination)
		}
	default:
		e, err := r.entry(b.Destination, origin)
		if err != nil {
			return nil, err
		}
		n.queue = e
	}
	wrong := ""
	switch n.source.spec.Kind {
	case Headers:
		n.match, wrong = newMatchRule(b.Arguments)
	case ConsistentHash:
		n.share, wrong = newWeighted(&n.spec)
	}
	if b.Selector != "" && wrong == "" {
		var err error
		if n.selector, err = selector.Parse(b.Selector); err != nil {
			wrong = "selector: " + err.Error()
		}
	}
	if wrong != "" {
		return nil, &Error{Err: ErrInvalid, Object: "exchange", Name: b.Source, VHost: r.name, Reason: wrong}
	}
	return n, nil
}

// link puts a binding in place. mu is held.
func (r *Router) link(identity string, n *binding) {
	n.source.add(identity, n)
	if n.queue != nil {
		if n.queue.incoming == nil {
			n.queue.incoming = map[*binding]struct{}{}
		}
		n.queue.incoming[n] = struct{}{}
	} else {
		n.exchange.incoming[n] = struct{}{}
	}
	r.changed(n.source)
}

// Unbind removes a binding; one that is not there is fine.
func (r *Router) Unbind(b Binding, origin uint64) (confirm.Receipt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.newBinding(b, origin)
	if isError(err, ErrInvalid) { // nobody can have made it
		return confirm.Receipt{}, nil
	}
	if err != nil {
		return confirm.Receipt{}, err
	}
	identity := r.identity(&b)
	old := n.source.bindings[identity]
	if old == nil {
		return confirm.Receipt{}, nil
	}
	if b.Owner == Client && old.spec.Owner == File {
		return confirm.Receipt{}, r.exchangeError(ErrReserved, b.Source)
	}
	var tx queue.Tx
	r.removeBinding(&tx, identity, old)
	return r.write(&tx)
}

// removeBinding takes a binding out, and with it its source when that was to go with its last binding. mu is held.
func (r *Router) removeBinding(tx *queue.Tx, identity string, b *binding) {
	if b.source.bindings[identity] != b {
		return // a cascade has been here already
	}
	tx.Rows = append(tx.Rows, tombstones(r.bindingRows(b))...)
	b.source.remove(identity, b)
	if b.queue != nil {
		delete(b.queue.incoming, b)
	} else {
		delete(b.exchange.incoming, b)
	}
	r.changed(b.source)
	if b.source.spec.AutoDelete && len(b.source.bindings) == 0 && r.exchanges[b.source.spec.Name] == b.source {
		r.removeExchange(tx, b.source)
	}
}

// identity is what makes two bindings the same. It is also the key of the binding's row.
func (r *Router) identity(b *Binding) string {
	parts := []string{
		r.name, "binding", b.Source, strconv.FormatBool(b.ToExchange), b.Destination,
		base64.StdEncoding.EncodeToString([]byte(b.Key)), base64.StdEncoding.EncodeToString(b.Arguments),
		strconv.FormatBool(b.NoDollar), base64.StdEncoding.EncodeToString([]byte(b.NewKey)),
	}
	if b.Selector != "" { // rows of others keep the keys they had before there were selectors
		parts = append(parts, b.Selector)
	}
	key, err := json.Marshal(parts)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(key)
}

func isError(err, kind error) bool {
	var e *Error
	return errors.As(err, &e) && e.Err == kind
}
