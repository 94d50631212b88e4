package router

import (
	"strings"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
)

// Result says where a message went.
type Result uint8

const (
	Routed     Result = iota // at least one queue has it
	Unroutable               // no queue wanted it
	Refused                  // a queue that wanted it is at its limit
)

// A publisher's cache holds that many routes, and none of a longer key: topics of 64 KiB must not fill the memory. When
// it is full it starts over.
const (
	routeCacheSize = 1024
	routeCacheKey  = 256
)

// Publisher is one session's way in: it owns the route cache and scratch space. One goroutine at a time.
type Publisher struct {
	router *Router
	origin uint64
	buries bool // it is the one that hands over dead letters
	whole  bool // what is being put has been found to fit
	cache  map[address]*route
	last   *route // of the message before: most publishers repeat themselves
	tx     queue.Tx
	pos    []queue.Pos
	rows   []queue.Row
	ack    [1]queue.Pos
}

// address is where a message is published.
type address struct{ exchange, key string }

// NewPublisher returns a publisher for the session of that origin.
func (r *Router) NewPublisher(origin uint64) *Publisher {
	return &Publisher{router: r, origin: origin, cache: map[address]*route{}}
}

// Publish routes m and hands it to every target; rows are written in the same record, also when nothing wanted m. The
// caller first says what its protocol wants said about the result (basic.return) and then redeems the receipt, which
// is safe when all targets and rows are. m is shared from here on and must not change.
//
// An exchange that delays holds m for as long as its header DelayHeader says, and then it is as with PublishAfter.
//
// The error is an *Error when the exchange does not exist or takes no messages; any other comes from the log.
func (p *Publisher) Publish(m *message.Message, rows ...queue.Row) (Result, confirm.Receipt, error) {
	return p.publish(m, nil, rows)
}

// Wanted reports whether a queue would get m. It is for what is computed only when somebody wants it.
func (p *Publisher) Wanted(m *message.Message) bool {
	route, err := p.route(m, nil)
	if err != nil {
		return false
	}
	for i := range route.branches {
		if len(route.branches[i].queues) > 0 {
			return true
		}
	}
	return false
}

// PublishAlso is Publish under further routing keys as well: a queue that several of them lead to gets m once.
func (p *Publisher) PublishAlso(m *message.Message, also []string) (Result, confirm.Receipt, error) {
	return p.publish(m, also, nil)
}

func (p *Publisher) publish(m *message.Message, also []string, rows []queue.Row) (Result, confirm.Receipt, error) {
	m = p.redirected(m)
	route, err := p.route(m, also)
	if err != nil {
		return Unroutable, confirm.Receipt{}, err
	}
	if route.delayed {
		if delay := askedDelay(m); delay > 0 {
			return p.hold(delay, m, also, rows)
		}
	}
	keep := p.retains(m)
	if keep {
		p.rows = append(append(p.rows[:0], rows...), p.router.retainer.Row(m))
		rows = p.rows
	}
	if len(route.branches) > 1 {
		return p.publishBranches(m, route, rows, keep)
	}
	targets := &route.branches[0]
	var at queue.Pos
	var receipt confirm.Receipt
	if len(rows) > 0 || m.Durable() && len(targets.ids) > 0 {
		ids := targets.ids
		if !m.Durable() {
			ids = nil
		}
		if at, receipt, err = p.router.log.Append(m, ids, rows...); err != nil {
			return Refused, confirm.Receipt{}, err
		}
	}
	if keep {
		p.router.retainer.Keep(m, at)
	}
	if !m.Durable() {
		at = queue.Pos{} // the record was for the rows: queues keep a transient message in memory
	}
	return p.put(m, at, targets.queues), receipt, nil
}

// redirected is m, or where a reply address of another protocol has it go.
func (p *Publisher) redirected(m *message.Message) *message.Message {
	if m.Exchange != DefaultExchange || !strings.HasPrefix(m.Key, ReplyPrefix) || p.router.replies == nil {
		return m
	}
	exchange, key, ok := p.router.replies.Resolve(m.Key[len(ReplyPrefix):])
	if !ok {
		return m
	}
	redirected := *m
	redirected.Exchange, redirected.Key = exchange, key
	return &redirected
}

// retains reports whether m becomes the last value of its key.
func (p *Publisher) retains(m *message.Message) bool {
	return m.Retain && m.Exchange == TopicExchange && p.router.retainer != nil
}

// publishBranches publishes a message that routes send on under other keys as well: one record for all of it.
func (p *Publisher) publishBranches(m *message.Message, route *route, rows []queue.Row, keep bool) (Result, confirm.Receipt, error) {
	defer p.tx.Reset()
	for i := range route.branches {
		b := &route.branches[i]
		publish := queue.Publish{Message: m}
		if i > 0 {
			renamed := *m
			renamed.Exchange, renamed.Key = b.exchange, b.key
			publish.Message = &renamed
		} else {
			publish.Rows = rows
		}
		if m.Durable() {
			publish.Queues = b.ids
		}
		p.tx.Publishes = append(p.tx.Publishes, publish)
	}
	var receipt confirm.Receipt
	var err error
	logged := m.Durable() && route.durable || len(rows) > 0
	if logged {
		if p.pos, receipt, err = p.router.log.AppendTx(&p.tx, p.pos[:0]); err != nil {
			return Refused, confirm.Receipt{}, err
		}
	}
	if keep {
		p.router.retainer.Keep(m, p.pos[0])
	}
	result := Unroutable
	for i := range route.branches {
		var at queue.Pos
		if logged && m.Durable() {
			at = p.pos[i]
		}
		switch p.put(p.tx.Publishes[i].Message, at, route.branches[i].queues) {
		case Refused:
			result = Refused
		case Routed:
			if result == Unroutable {
				result = Routed
			}
		}
	}
	return result, receipt, nil
}

// put hands m to its queues. A queue that does not take it has its reference in the log acknowledged at once.
func (p *Publisher) put(m *message.Message, at queue.Pos, queues []*queue.Local) Result {
	result := Unroutable
	for _, q := range queues {
		position := at
		if q.ID() == 0 {
			position = queue.Pos{}
		}
		var err error
		switch {
		case p.buries:
			err = p.router.deposit(q, m, position)
		case p.whole:
			err = q.PutOver(m, position)
		default:
			err = q.Put(m, position)
		}
		switch {
		case err == nil:
			if result == Unroutable {
				result = Routed
			}
			continue
		case err == queue.ErrBuried:
			result = Refused
			continue // its reference went with the dead letter
		case err == queue.ErrClosed: // deleted a moment ago: as if it had never matched
		default:
			result = Refused
		}
		if position.Seq != 0 {
			p.ack[0] = position
			if _, err := p.router.log.Ack(q.ID(), p.ack[:]); err != nil {
				p.router.slog.Error("message refused by a queue not acknowledged in the log", "queue", q.Name(), "err", err)
			}
		}
	}
	return result
}

// route returns the targets of m, from the cache while no binding on its way has changed.
func (p *Publisher) route(m *message.Message, also []string) (*route, error) {
	if len(also) > 0 {
		return p.router.resolve(m, also, !p.buries)
	}
	if r := p.last; r != nil && r.at.key == m.Key && r.at.exchange == m.Exchange && r.current() {
		return r, nil
	}
	at := address{m.Exchange, m.Key}
	r := p.cache[at]
	if r == nil || !r.current() {
		var err error
		if r, err = p.router.resolve(m, nil, !p.buries); err != nil {
			return nil, err
		}
		if r.perMessage || len(m.Key) > routeCacheKey {
			return r, nil
		}
		if len(p.cache) >= routeCacheSize {
			clear(p.cache)
		}
		r.at = address{r.source.spec.Name, strings.Clone(m.Key)}
		r.branches[0].address = r.at
		p.cache[r.at] = r
	}
	p.last = r
	return r, nil
}
