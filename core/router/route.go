package router

import (
	"slices"

	"tridge/core/message"
	"tridge/core/queue"
)

// route is a resolved address: the queues a message published there goes to.
type route struct {
	at         address
	source     *exchange
	generation uint64
	branches   []branch // the first is the message as published, the others go on under other keys
	durable    bool     // some branch has a durable queue
	perMessage bool     // depends on the headers: must not be cached
	delayed    bool     // the exchange holds messages for as long as their header says
}

// branch is one name of the message and the queues that get it under that name.
type branch struct {
	address
	queues []*queue.Local
	ids    []uint32 // what the log calls the durable ones
}

// current reports whether no binding that this route followed has changed since.
func (r *route) current() bool { return r.source.generation.Load() == r.generation }

// resolve finds where m goes. It is the slow path: publishers cache the result.
func (r *Router) resolve(m *message.Message) (*route, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	x := r.exchanges[m.Exchange]
	if x == nil {
		return nil, r.exchangeError(ErrNotFound, m.Exchange)
	}
	if x.spec.Internal {
		return nil, r.exchangeError(ErrInternal, m.Exchange)
	}
	w := walk{router: r, message: m, route: &route{source: x, generation: x.generation.Load(), delayed: x.spec.Delayed}}
	w.visit(x, m.Key, 0)
	for i := range w.route.branches {
		b := &w.route.branches[i]
		for _, q := range b.queues {
			if q.ID() != 0 {
				b.ids = append(b.ids, q.ID())
			}
		}
		w.route.durable = w.route.durable || len(b.ids) > 0
	}
	return w.route, nil
}

// walk follows bindings from exchange to exchange. router.mu is held for reading.
type walk struct {
	router  *Router
	message *message.Message
	route   *route
	visited []visit
	seen    map[seen]struct{} // once a branch is wide
}

type visit struct {
	x   *exchange
	key string
}

type seen struct {
	branch int
	q      *queue.Local
}

// wide is the number of queues of a branch above which duplicates are looked up and not searched for.
const wide = 16

// visit adds what x does with a message of that key to the branch of index b, and reports whether anything matched.
// Every (exchange, key) is followed once: that is the guard against cycles.
func (w *walk) visit(x *exchange, key string, b int) bool {
	if b == len(w.route.branches) {
		w.route.branches = append(w.route.branches, branch{address: address{x.spec.Name, key}})
	}
	if slices.Contains(w.visited, visit{x, key}) {
		return true
	}
	w.visited = append(w.visited, visit{x, key})
	if x.spec.Name == DefaultExchange {
		q := w.router.queues[key]
		if q != nil {
			w.add(b, q.queue)
		}
		return q != nil
	}
	w.route.perMessage = w.route.perMessage || x.perMessage()
	matched := false
	x.match(key, w.message, func(n *binding) {
		matched = true
		switch {
		case n.queue != nil:
			w.add(b, n.queue.queue)
		case n.spec.NewKey != "" && n.spec.NewKey != key:
			w.visit(n.exchange, n.spec.NewKey, len(w.route.branches))
		default:
			w.visit(n.exchange, key, b)
		}
	})
	if !matched && x.spec.Alternate != "" {
		if alternate := w.router.exchanges[x.spec.Alternate]; alternate != nil {
			return w.visit(alternate, key, b)
		}
	}
	return matched
}

// add puts q on a branch once.
func (w *walk) add(b int, q *queue.Local) {
	queues := w.route.branches[b].queues
	switch {
	case len(queues) < wide:
		if slices.Contains(queues, q) {
			return
		}
	default:
		if w.seen == nil {
			w.seen = map[seen]struct{}{}
		}
		if len(queues) == wide {
			for _, other := range queues {
				w.seen[seen{b, other}] = struct{}{}
			}
		}
		if _, twice := w.seen[seen{b, q}]; twice {
			return
		}
		w.seen[seen{b, q}] = struct{}{}
	}
	w.route.branches[b].queues = append(queues, q)
}
