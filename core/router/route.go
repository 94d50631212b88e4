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

// resolve finds where m goes, also under further keys. It is the slow path: publishers cache the result when there are
// none. Clients may not publish to an internal exchange; dead letters may go there.
func (r *Router) resolve(m *message.Message, also []string, client bool) (*route, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	x := r.exchanges[m.Exchange]
	if x == nil {
		return nil, r.exchangeError(ErrNotFound, m.Exchange)
	}
	if x.spec.Internal && client {
		return nil, r.exchangeError(ErrInternal, m.Exchange)
	}
	w := walk{router: r, message: m, route: &route{source: x, generation: x.generation.Load(), delayed: x.spec.Delayed}}
	w.route.perMessage = len(also) > 0
	w.key[0] = m.Key
	w.visit(x, append(w.key[:], also...), 0)
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
	key     [1]string // most messages have one
	route   *route
	visited []visit            // while they are few
	many    map[visit]struct{} // once they are not
	seen    map[seen]struct{}  // once a branch is wide
}

type visit struct {
	x   *exchange
	key string
}

type seen struct {
	branch int
	q      *queue.Local
}

// wide is the number of queues of a branch, or of places visited, above which duplicates are looked up and not searched
// for.
const wide = 16

// visit adds what x does with a message of those keys to the branch of index b, and reports whether anything matched.
// Every (exchange, key) is followed once: that is the guard against cycles.
func (w *walk) visit(x *exchange, keys []string, b int) bool {
	if b == len(w.route.branches) {
		w.route.branches = append(w.route.branches, branch{address: address{x.spec.Name, keys[0]}})
	}
	matched, fresh := false, false
	var onward []*binding
	w.route.perMessage = w.route.perMessage || x.perMessage()
	asked := keys
	if kind := x.spec.Kind; kind != Direct && kind != Topic { // it looks at no key, or at one
		asked = keys[:1]
	}
	for _, key := range asked {
		if !w.first(visit{x, key}) {
			continue
		}
		fresh = true
		if x.spec.Name == DefaultExchange {
			if q := w.router.queues[key]; q != nil {
				w.add(b, q.queue)
				matched = true
			}
			continue
		}
		x.match(key, w.message, func(n *binding) {
			if n.choosy() {
				w.route.perMessage = true
				if !n.wants(w.message) {
					return
				}
			}
			matched = true
			switch {
			case n.queue != nil:
				w.add(b, n.queue.queue)
			case !slices.Contains(onward, n): // several keys may match it
				onward = append(onward, n)
			}
		})
	}
	for _, n := range onward {
		if n.spec.NewKey != "" && n.spec.NewKey != keys[0] {
			w.visit(n.exchange, []string{n.spec.NewKey}, len(w.route.branches))
		} else {
			w.visit(n.exchange, keys, b)
		}
	}
	if !fresh {
		return true
	}
	if !matched && x.alternate != "" {
		if alternate := w.router.exchanges[x.alternate]; alternate != nil {
			return w.visit(alternate, keys, b)
		}
	}
	return matched
}

// first enters v and reports whether it is new.
func (w *walk) first(v visit) bool {
	if w.many == nil && len(w.visited) < wide {
		if slices.Contains(w.visited, v) {
			return false
		}
		w.visited = append(w.visited, v)
		return true
	}
	if w.many == nil {
		w.many = map[visit]struct{}{}
		for _, other := range w.visited {
			w.many[other] = struct{}{}
		}
	}
	if _, twice := w.many[v]; twice {
		return false
	}
	w.many[v] = struct{}{}
	return true
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
