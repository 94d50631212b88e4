package router

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
)

// ReplyPrefix begins the names on the default exchange that stand for reply addresses of other protocols.
const ReplyPrefix = "amq.gw.reply."

// Replies resolves the tokens behind ReplyPrefix.
type Replies interface {
	Resolve(token string) (exchange, key string, ok bool)
}

// Retainer keeps the last value of each key of the topic exchange.
type Retainer interface {
	// Row is written in the record of m, a message that asks to be retained.
	Row(m *message.Message) queue.Row
	// Keep is told where that record is.
	Keep(m *message.Message, at queue.Pos)
}

// Config is what a router works with.
type Config struct {
	Name     string    // of the virtual host
	Log      queue.Log // where durable facts go
	Retainer Retainer  // nil: nothing is retained
	Replies  Replies   // nil: ReplyPrefix means nothing
	// NextID returns a queue id never used before, and rows to be written before it is used.
	NextID func() (id uint32, rows []queue.Row)
	Bodies *queue.Budget // what all queues keep in memory; nil for no limit
	// Session bounds the queues of sessions: those that DropTransientWhenIdle.
	Session queue.SessionLimits
	Pager   *queue.Pager // bounds the memory of positions; nil for no limit
	Clock   *queue.Clock // has messages and queues expire on time; nil: messages when they are taken, queues never, and what is delayed stays so
	Slog    *slog.Logger
}

// Router is one virtual host: its exchanges, queues and bindings.
type Router struct {
	// immutable
	name     string
	log      queue.Log
	retainer Retainer
	replies  Replies
	nextID   func() (uint32, []queue.Row)
	bodies   *queue.Budget
	session  queue.SessionLimits
	pager    *queue.Pager
	clock    *queue.Clock
	slog     *slog.Logger

	origins  atomic.Uint64
	dead     deadLetters
	delayed  delayed
	counters Counters

	// guarded by mu, which is taken before any queue's and the log's; never on a publish whose route is cached
	mu        sync.RWMutex
	exchanges map[string]*exchange
	queues    map[string]*queueEntry
	exclusive map[uint64][]*queueEntry // by the origin they go with
	policies  policies
	laws      map[shape]*queue.Laws // that queues share, some of them
}

// Counters count what no queue counts.
type Counters struct {
	DeadLetterCycles  atomic.Uint64 // not put on a queue they had died in before, without a consumer's doing
	DeadLetterDropped atomic.Uint64 // because the dead letter exchange is gone, or they do not fit one record of the log
	DelayedDropped    atomic.Uint64 // when their time had come: the exchange gone, no queue that wanted them, one at its limit, or more than fits one record of the log
}

// Counters returns the router's live counters.
func (r *Router) Counters() *Counters { return &r.counters }

// queueEntry is a queue and what the router knows of it.
type queueEntry struct {
	spec     QueueSpec
	queue    *queue.Local
	declared confirm.Receipt       // safe when the declaration is
	ruling   *ruling               // the policies that hold for it; nil for none
	incoming map[*binding]struct{} // made by the first one
}

// New returns a router with the exchanges every virtual host has.
func New(c Config) *Router {
	r := &Router{
		name: c.Name, log: c.Log, retainer: c.Retainer, replies: c.Replies, nextID: c.NextID, bodies: c.Bodies, pager: c.Pager, clock: c.Clock, slog: c.Slog,
		session:   c.Session,
		exchanges: map[string]*exchange{}, queues: map[string]*queueEntry{}, exclusive: map[uint64][]*queueEntry{},
		laws: map[shape]*queue.Laws{},
	}
	r.dead.publisher = r.NewPublisher(0)
	r.dead.publisher.buries = true
	r.delayed.publisher = r.NewPublisher(0)
	r.delayed.list = queue.NewDelayed(c.Name+" delayed", c.Clock, r.release)
	for _, s := range []ExchangeSpec{
		{Name: DefaultExchange, Kind: Direct},
		{Name: "amq.direct", Kind: Direct},
		{Name: "amq.fanout", Kind: Fanout},
		{Name: TopicExchange, Kind: Topic},
		{Name: "amq.headers", Kind: Headers},
		{Name: "amq.match", Kind: Headers},
	} {
		s.Durable, s.Owner = true, System
		r.exchanges[s.Name] = newExchange(s)
	}
	return r
}

// Name is the name of the virtual host.
func (r *Router) Name() string { return r.name }

// NewOrigin returns a number for a session: what it publishes and what is exclusive to it carry that number.
func (r *Router) NewOrigin() uint64 { return r.origins.Add(1) }

// Queue returns the queue of that name for the session of that origin: an *Error wrapping ErrNotFound, or ErrLocked
// when it is exclusive to another.
func (r *Router) Queue(name string, origin uint64) (*queue.Local, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, err := r.entry(name, origin)
	if err != nil {
		return nil, err
	}
	return e.queue, nil
}

// QueueSpec returns what the queue of that name was declared with. The errors are those of Queue.
func (r *Router) QueueSpec(name string, origin uint64) (QueueSpec, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, err := r.entry(name, origin)
	if err != nil {
		return QueueSpec{}, err
	}
	return e.spec, nil
}

// ConsumerLaws is what a session keeps to on a queue's behalf.
type ConsumerLaws struct {
	Timeout int64 // QueueSpec.ConsumerTimeout, or what a policy makes of it
	Counted bool  // consumers are told how often a message has been delivered before
}

// ConsumerLaws is that of a queue, zero for one that is not there.
func (r *Router) ConsumerLaws(name string) ConsumerLaws {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.queues[name]
	if e == nil {
		return ConsumerLaws{}
	}
	rule := e.rule()
	return ConsumerLaws{Timeout: rule.consumerTimeout, Counted: !rule.maxAttempts.IsZero() || e.spec.Quorum()}
}

// The argument by which a client asks for a quorum queue. All it promises every durable queue keeps; what is left of the
// word is how its consumers are spoken to.
const (
	argumentQueueType = "x-queue-type"
	quorum            = "quorum"
)

// entry is Queue under mu.
func (r *Router) entry(name string, origin uint64) (*queueEntry, error) {
	e := r.queues[name]
	if e == nil {
		return nil, r.queueError(ErrNotFound, name)
	}
	if e.spec.Exclusive != 0 && e.spec.Exclusive != origin {
		return nil, r.queueError(ErrLocked, name)
	}
	return e, nil
}

// QueueWithID returns the name of the queue that the log calls id. No queue in memory only has one.
func (r *Router) QueueWithID(id uint32) (name string, ok bool) {
	if id == 0 {
		return "", false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for name, e := range r.queues {
		if e.queue.ID() == id {
			return name, true
		}
	}
	return "", false
}

// Exchange returns what the exchange of that name was declared with.
func (r *Router) Exchange(name string) (ExchangeSpec, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	x := r.exchanges[name]
	if x == nil {
		return ExchangeSpec{}, r.exchangeError(ErrNotFound, name)
	}
	return x.spec, nil
}

// CloseOwner deletes what is exclusive to the session of that origin.
func (r *Router) CloseOwner(origin uint64) {
	r.mu.Lock()
	owned := r.exclusive[origin]
	delete(r.exclusive, origin)
	for _, e := range owned {
		if _, _, err := r.deleteQueue(e, queue.Condition{}); err != nil && err != queue.ErrClosed {
			r.slog.Error("exclusive queue not deleted", "vhost", r.name, "queue", e.spec.Name, "err", err)
		}
	}
	r.mu.Unlock()
	for _, e := range owned {
		if _, err := e.queue.Discard(); err != nil {
			r.slog.Error("messages of an exclusive queue not ended", "vhost", r.name, "queue", e.spec.Name, "err", err)
		}
	}
}

// reserved reports whether a name belongs to the gateway.
func reserved(name string) bool { return strings.HasPrefix(name, "amq.") }

func (r *Router) queueError(err error, name string) *Error {
	return &Error{Err: err, Object: "queue", Name: name, VHost: r.name}
}

func (r *Router) exchangeError(err error, name string) *Error {
	return &Error{Err: err, Object: "exchange", Name: name, VHost: r.name}
}

// changed bumps exchanges and every one from which a message can reach one of them. mu is held.
func (r *Router) changed(xs ...*exchange) {
	visited := map[*exchange]struct{}{}
	var feeders map[string][]*exchange // by their alternate exchange; looked up once, however many change
	for todo := xs; len(todo) > 0; {
		x := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, twice := visited[x]; twice {
			continue
		}
		visited[x] = struct{}{}
		x.generation.Add(1)
		for b := range x.incoming {
			todo = append(todo, b.source)
		}
		if x.spec.Name == DefaultExchange { // nobody's alternate
			continue
		}
		if feeders == nil {
			feeders = map[string][]*exchange{}
			for _, other := range r.exchanges {
				if other.alternate != "" {
					feeders[other.alternate] = append(feeders[other.alternate], other)
				}
			}
		}
		todo = append(todo, feeders[x.spec.Name]...)
	}
}

// write makes tx durable; an empty one is nothing to wait for.
func (r *Router) write(tx *queue.Tx) (confirm.Receipt, error) {
	if len(tx.Rows) == 0 && len(tx.Acks) == 0 && len(tx.Publishes) == 0 {
		return confirm.Receipt{}, nil
	}
	_, receipt, err := r.log.AppendTx(tx, nil)
	return receipt, err
}
