package topology

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// ParseAddress resolves what follows the scheme and its colon in an address of a routes file.
type ParseAddress func(string) (Address, error)

// Change is one object that is to be there, in the words of the router: exactly one of the pointers is set.
type Change struct {
	Where    Where // in the routes file
	Exchange *router.ExchangeSpec
	Queue    *router.QueueSpec
	Binding  *router.Binding
	Policy   *router.Policy
	Scope    router.Scope // of Policy
}

// Compile resolves s into the objects a router shall have: policies first, then exchanges, queues and bindings, so that each
// finds what it needs. parsers holds the words of each scheme; "exchange" and "queue" are always known. The error
// joins an *Error for everything that is wrong, not only for the first. A zero Text is passed over in silence: who read
// the file has reported that it is missing, and the rest can still be checked.
func Compile(s Spec, parsers map[string]ParseAddress) ([]Change, error) {
	c := compiler{
		parsers:   map[string]ParseAddress{"exchange": parseExchange, "queue": parseQueue},
		exchanges: map[string]router.Kind{},
		queues:    map[string]bool{},
		policies:  map[policyIdentity]bool{},
		bindings:  map[bindingIdentity]Where{},
	}
	for scheme, parse := range parsers {
		c.parsers[scheme] = parse
	}
	for name, kind := range predeclared() {
		c.exchanges[name] = kind
	}
	// Names first: an object may be mentioned above the line that declares it.
	for i := range s.Exchanges {
		c.name(&s.Exchanges[i])
	}
	for i := range s.Queues {
		name := s.Queues[i].Name
		c.checkName("queue", name, c.queues[name.Value])
		c.queues[name.Value] = true
	}
	for i := range s.Policies {
		c.policy(&s.Policies[i])
	}
	for i := range s.Exchanges {
		c.exchange(&s.Exchanges[i])
	}
	for i := range s.Queues {
		c.queue(&s.Queues[i])
	}
	for i := range s.Bindings {
		c.binding(&s.Bindings[i])
	}
	for i := range s.Routes {
		c.route(&s.Routes[i])
	}
	return c.changes, errors.Join(c.errs...)
}

// predeclared are the exchanges every virtual host has.
func predeclared() map[string]router.Kind {
	return map[string]router.Kind{
		"amq.direct": router.Direct, "amq.fanout": router.Fanout, router.TopicExchange: router.Topic,
		"amq.headers": router.Headers, "amq.match": router.Headers,
	}
}

type compiler struct {
	parsers   map[string]ParseAddress
	exchanges map[string]router.Kind // declared in the file, or always there
	queues    map[string]bool        // declared in the file
	policies  map[policyIdentity]bool
	bindings  map[bindingIdentity]Where
	changes   []Change
	errs      []error
}

func (c *compiler) fail(at Where, format string, args ...any) {
	c.errs = append(c.errs, &Error{Where: at, Text: fmt.Sprintf(format, args...)})
}

// name notes an exchange of the file.
func (c *compiler) name(x *Exchange) {
	_, twice := c.exchanges[x.Name.Value]
	c.checkName("exchange", x.Name, twice)
	c.exchanges[x.Name.Value] = x.Kind
}

// reservedPrefix begins the names that belong to the gateway.
const reservedPrefix = "amq."

// maxName is the longest name AMQP can say: a short string (0-9-1 §4.2.5.3).
const maxName = 255

func (c *compiler) checkName(object string, name Text, twice bool) {
	switch {
	case name == (Text{}):
	case name.Value == "":
		c.fail(name.Where, "the %s needs a name", object)
	case strings.HasPrefix(name.Value, reservedPrefix):
		c.fail(name.Where, "%s %q: names that begin with %q belong to the gateway", object, name.Value, reservedPrefix)
	case len(name.Value) > maxName:
		c.fail(name.Where, "the name of the %s has %d bytes; at most %d are allowed", object, len(name.Value), maxName)
	case twice:
		c.fail(name.Where, "%s %q is declared twice", object, name.Value)
	}
}

func (c *compiler) exchange(x *Exchange) {
	s := &router.ExchangeSpec{
		Name: x.Name.Value, Kind: x.Kind, Durable: true, Internal: x.Internal, Alternate: x.Alternate.Value, Owner: router.File,
	}
	if s.Alternate != "" {
		c.wantExchange(x.Alternate)
		s.Arguments = message.AppendStringField(s.Arguments, "alternate-exchange", s.Alternate)
	}
	c.changes = append(c.changes, Change{Where: x.Name.Where, Exchange: s})
}

// queue also writes the arguments an AMQP client would declare the queue with, so that one that declares it alike is
// let through and one that declares it otherwise is told the difference.
func (c *compiler) queue(q *Queue) {
	s := &router.QueueSpec{
		Name: q.Name.Value, Durable: true, Owner: router.File,
		MaxLength: q.MaxLength, MaxBytes: q.MaxBytes, Overflow: q.Overflow, MaxAttempts: q.DeliveryLimit,
	}
	s.Arguments = appendLimit(s.Arguments, "x-max-length", q.MaxLength)
	s.Arguments = appendLimit(s.Arguments, "x-max-length-bytes", q.MaxBytes)
	switch q.Overflow {
	case queue.Refuse:
		s.Arguments = message.AppendStringField(s.Arguments, "x-overflow", "reject-publish")
	case queue.RefuseDeadLetter:
		s.Arguments = message.AppendStringField(s.Arguments, "x-overflow", "reject-publish-dlx")
		if q.DeadLetter == nil {
			c.fail(q.Name.Where, "queue %q: overflow refuse-dead-letter needs dead-letter", q.Name.Value)
		}
	}
	if q.SingleActive {
		s.SingleActive = true
		s.Arguments = message.AppendField(s.Arguments, "x-single-active-consumer", message.BoolValue(true))
	}
	s.Arguments = appendLimit(s.Arguments, "x-delivery-limit", q.DeliveryLimit)
	if q.MaxPriority > 0 {
		s.MaxPriority = uint8(min(q.MaxPriority, math.MaxUint8))
		s.Arguments = message.AppendField(s.Arguments, "x-max-priority", message.IntValue(int64(s.MaxPriority)))
	}
	if q.TTL != nil {
		s.HasTTL, s.TTL = true, q.TTL.Milliseconds()
		s.Arguments = message.AppendField(s.Arguments, "x-message-ttl", message.IntValue(s.TTL))
	}
	if q.Expires > 0 {
		s.Expires = q.Expires.Milliseconds()
		s.Arguments = message.AppendField(s.Arguments, "x-expires", message.IntValue(s.Expires))
	}
	if d := q.DeadLetter; d != nil {
		s.DeadLetter, s.DeadLetterExchange, s.DeadLetterKey = true, d.Exchange.Value, d.Key
		s.Arguments = message.AppendStringField(s.Arguments, "x-dead-letter-exchange", s.DeadLetterExchange)
		if d.Key != "" {
			s.Arguments = message.AppendStringField(s.Arguments, "x-dead-letter-routing-key", d.Key)
		}
		switch {
		case d.Exchange.Value != "":
			c.wantExchange(d.Exchange)
		case d.Key == "":
			c.fail(d.Exchange.Where, "dead-letter needs an exchange, or a key that names a queue, or both")
		default:
			c.wantQueue(Text{d.Exchange.Where, d.Key})
		}
	}
	c.changes = append(c.changes, Change{Where: q.Name.Where, Queue: s})
}

// appendLimit is h with a limit, if there is one.
func appendLimit(h message.Headers, name string, l queue.Limit) message.Headers {
	if n, ok := l.Value(); ok {
		return message.AppendField(h, name, message.IntValue(n))
	}
	return h
}

func (c *compiler) binding(b *Binding) {
	to := &router.Binding{Source: b.Source.Value, Key: b.Key, Arguments: c.arguments(b.Arguments), Owner: router.File}
	known := c.wantExchange(b.Source)
	if b.Exchange.Value != "" {
		to.Destination, to.ToExchange = b.Exchange.Value, true
		c.wantExchange(b.Exchange)
	} else {
		to.Destination = b.Queue.Value
		c.wantQueue(b.Queue)
	}
	if known && len(b.Arguments) > 0 && c.exchanges[b.Source.Value] != router.Headers {
		c.fail(b.Where, "exchange %q is not of the kind headers: it does not look at arguments", b.Source.Value)
	}
	c.add(Change{Where: b.Where, Binding: to})
}

// arguments encodes what a binding asks for. The order of the names makes no difference to its identity.
func (c *compiler) arguments(list []Argument) message.Headers {
	var h message.Headers
	for _, a := range slices.SortedFunc(slices.Values(list), func(a, b Argument) int { return strings.Compare(a.Name.Value, b.Name.Value) }) {
		if n := len(a.Name.Value); n == 0 || n > maxName {
			c.fail(a.Name.Where, "the name of an argument has 1 to %d bytes", maxName)
			continue
		}
		switch v := a.Value.(type) {
		case string:
			h = message.AppendStringField(h, a.Name.Value, v)
		case int64:
			h = message.AppendField(h, a.Name.Value, message.IntValue(v))
		case bool:
			h = message.AppendField(h, a.Name.Value, message.BoolValue(v))
		default:
			c.fail(a.Name.Where, "argument %q is neither text nor a whole number nor true or false", a.Name.Value)
		}
	}
	return h
}

func (c *compiler) route(r *Route) {
	from, fromOK := c.address(r.From)
	to, toOK := c.address(r.To)
	if fromOK && from.Queue != "" {
		c.fail(r.From.Where, "%q is a queue: a route begins at an exchange or a topic. Moving messages out of a queue is the work of a bridge, which is not supported yet", r.From.Value)
		fromOK = false
	}
	if !fromOK || !toOK {
		return
	}
	b := &router.Binding{Source: from.Exchange, Key: from.Key, NoDollar: from.NoDollar, Owner: router.File}
	switch {
	case to.Queue != "":
		b.Destination = to.Queue
	case to.Exchange == from.Exchange && to.Key == from.Key:
		c.fail(r.To.Where, "%q is the same address as %q: what is sent to one is there for the other without a route", r.To.Value, r.From.Value)
		return
	case to.Exchange == from.Exchange && to.Key == "":
		c.fail(r.To.Where, "exchange %q leads to itself; a target with a key would send the message on under that key", to.Exchange)
		return
	default:
		b.Destination, b.ToExchange, b.NewKey = to.Exchange, true, to.Key
	}
	switch kind := c.exchanges[from.Exchange]; {
	case from.Key != "":
	case kind == router.Topic:
		b.Key = "#" // an exchange without a key is all of it
	case kind == router.Direct:
		c.fail(r.From.Where, "exchange %q is of the kind direct: say which key, as in \"exchange:%s/KEY\"", from.Exchange, from.Exchange)
		return
	}
	if b.ToExchange && c.exchanges[to.Exchange] == router.Topic && hasWildcard(to.Key) {
		c.fail(r.To.Where, "%q has a wildcard: a message can be sent to one address only; leave the key away to keep the message's own", r.To.Value)
		return
	}
	c.add(Change{Where: r.From.Where, Binding: b})
}

// add keeps a binding, once.
func (c *compiler) add(change Change) {
	id := identify(change.Binding)
	if other, twice := c.bindings[id]; twice {
		c.fail(change.Where, "this says the same as line %d", other.Line)
		return
	}
	c.bindings[id] = change.Where
	c.changes = append(c.changes, change)
}

// address resolves one end of a route and checks that it is declared.
func (c *compiler) address(t Text) (Address, bool) {
	if t == (Text{}) {
		return Address{}, false
	}
	scheme, rest, found := strings.Cut(t.Value, ":")
	parse := c.parsers[scheme]
	if !found || parse == nil {
		c.fail(t.Where, "%q: an address is a scheme, a colon and the address in that scheme's words; the schemes are %s", t.Value, c.schemes())
		return Address{}, false
	}
	a, err := parse(rest)
	if err != nil {
		c.fail(t.Where, "%q: %v", t.Value, err)
		return Address{}, false
	}
	if a.Queue == "" && a.Exchange == router.DefaultExchange {
		// What is published to the default exchange goes to the queue of that name (0-9-1 §3.1.3.1).
		a = Address{Queue: a.Key}
	}
	if a.Queue != "" {
		return a, c.wantQueue(Text{t.Where, a.Queue})
	}
	return a, c.wantExchange(Text{t.Where, a.Exchange})
}

func (c *compiler) schemes() string {
	names := make([]string, 0, len(c.parsers))
	for name := range c.parsers {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// wantExchange and wantQueue hold the file to what it declares itself: whether a client will have declared the rest
// by the time the file is applied cannot be known, and a misspelt name is far more likely.
func (c *compiler) wantExchange(name Text) bool {
	_, ok := c.exchanges[name.Value]
	if !ok && name != (Text{}) {
		c.fail(name.Where, "exchange %q is not declared under \"exchanges\"", name.Value)
	}
	return ok
}

func (c *compiler) wantQueue(name Text) bool {
	if !c.queues[name.Value] && name != (Text{}) {
		c.fail(name.Where, "queue %q is not declared under \"queues\"", name.Value)
	}
	return c.queues[name.Value]
}

func parseExchange(s string) (Address, error) {
	name, key, _ := strings.Cut(s, "/")
	if name == "" {
		return Address{}, errors.New("the exchange has no name; it is written exchange:NAME or exchange:NAME/KEY")
	}
	return Address{Exchange: name, Key: key}, nil
}

func parseQueue(s string) (Address, error) {
	if s == "" {
		return Address{}, errors.New("the queue has no name; it is written queue:NAME")
	}
	return Address{Queue: s}, nil
}

// hasWildcard reports whether a key has a word that a topic exchange reads as a pattern.
func hasWildcard(key string) bool {
	for word := range strings.SplitSeq(key, ".") {
		if word == "*" || word == "#" {
			return true
		}
	}
	return false
}
