package router

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tridge/core/confirm"
	"tridge/core/queue"
)

// Scope says whose policies are meant. Of each at most one holds for an object.
type Scope uint8

const (
	Users     Scope = iota // policies, of queues and exchanges
	Operators              // operator policies: limits of queues that users cannot exceed
)

var scopeNames = [...]string{"policy", "operator policy"}

func (s Scope) String() string { return scopeNames[s] }

// kind is the kind of a policy's row.
func (s Scope) kind() string { return strings.ReplaceAll(scopeNames[s], " ", "-") }

// ApplyTo says which objects a policy is about, in RabbitMQ's words. "" is All.
type ApplyTo string

const (
	All           ApplyTo = "all"
	Queues        ApplyTo = "queues"
	ClassicQueues ApplyTo = "classic_queues" // all that are not quorum queues: the type is what a client called it
	QuorumQueues  ApplyTo = "quorum_queues"
	Streams       ApplyTo = "streams" // there are none yet
	Exchanges     ApplyTo = "exchanges"
)

// Policy gives queues and exchanges whose names match a pattern properties that they need not be declared with.
type Policy struct {
	Name       string
	Pattern    string // a regular expression (https://golang.org/s/re2syntax) found anywhere in the name
	ApplyTo    ApplyTo
	Priority   int64 // of the policies that match the highest holds; of several, the one whose name sorts first
	Definition Definition
	Owner      Owner
	Lifetimes  []Lifetime `json:",omitempty"` // kept by the router: its times to live, the oldest first
}

// maxPattern is the longest pattern in octets.
const maxPattern = 4096

// Fault is one thing that is wrong with a policy.
type Fault struct {
	Part string // "name", "pattern", "apply-to" or "definition"
	Key  string // of the definition; "" for all of it
	Text string
}

// Check returns everything that is wrong with a policy.
func (p *Policy) Check(scope Scope) (faults []Fault) {
	wrong := func(part, key, format string, arguments ...any) {
		faults = append(faults, Fault{part, key, fmt.Sprintf(format, arguments...)})
	}
	if p.Name == "" || !utf8.ValidString(p.Name) {
		wrong("name", "", "the name of a policy should be text")
	}
	if len(p.Pattern) > maxPattern {
		wrong("pattern", "", "pattern has %d octets; at most %d are allowed", len(p.Pattern), maxPattern)
	} else if _, err := regexp.Compile(p.Pattern); err != nil {
		wrong("pattern", "", "pattern should be regular expression but is invalid: %v", err)
	}
	switch p.ApplyTo {
	case "", All, Queues, ClassicQueues, QuorumQueues, Streams, Exchanges:
	default:
		wrong("apply-to", "", "apply-to '%s' unrecognised; should be 'queues', 'classic_queues', 'quorum_queues', 'streams', 'exchanges' or 'all'", p.ApplyTo)
	}
	if len(p.Definition) == 0 {
		wrong("definition", "", "no policy provided")
	}
	for _, key := range slices.Sorted(maps.Keys(p.Definition)) {
		m, known := meaningOf(key)
		switch value := p.Definition[key]; {
		case !known || scope == Operators && !m.operator:
			wrong("definition", key, "%q is not a recognised %s setting", key, scope)
		case m.honoured && !m.right(value):
			wrong("definition", key, "%s: %s is not a valid %s", key, quoted(value), m.what)
		}
	}
	return faults
}

// quoted is a value for people.
func quoted(v any) string {
	if text, ok := v.(string); ok {
		return strconv.Quote(text)
	}
	return fmt.Sprint(v)
}

// policy is a Policy that can be asked.
type policy struct {
	Policy
	pattern *regexp.Regexp
}

// ruling is the policies that hold for an object. Objects share it; nil is none.
type ruling struct {
	policy, operator *policy // at least one is set
	definition       Definition
}

// Ruling says which policies hold for an object.
type Ruling struct {
	Policy, Operator string     // their names, "" for none
	Definition       Definition // both together; nil without
}

func (g *ruling) shown() (s Ruling) {
	if g == nil {
		return s
	}
	if g.policy != nil {
		s.Policy = g.policy.Name
	}
	if g.operator != nil {
		s.Operator = g.operator.Name
	}
	s.Definition = g.definition
	return s
}

func (g *ruling) says() Definition {
	if g == nil {
		return nil
	}
	return g.definition
}

// policies are those of a virtual host, guarded by router.mu.
type policies struct {
	byName  [2]map[string]*policy // by Scope
	ordered [2][]*policy          // the first that matches holds
	rulings map[[2]*policy]*ruling
}

// put adds or, with no p, removes a policy.
func (ps *policies) put(scope Scope, name string, p *policy) {
	if p == nil {
		delete(ps.byName[scope], name)
	} else {
		if ps.byName[scope] == nil {
			ps.byName[scope] = map[string]*policy{}
		}
		ps.byName[scope][name] = p
	}
	ps.ordered[scope] = slices.SortedFunc(maps.Values(ps.byName[scope]), func(a, b *policy) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
	})
	ps.rulings = map[[2]*policy]*ruling{}
}

// matching is the policy of a scope that holds for an object: one of the targets is what it has to be applied to.
func (ps *policies) matching(scope Scope, name string, targets ...ApplyTo) *policy {
	for _, p := range ps.ordered[scope] {
		if slices.Contains(targets, p.ApplyTo) && p.pattern.MatchString(name) {
			return p
		}
	}
	return nil
}

// together is the ruling of two policies, either of which may be nil.
func (ps *policies) together(user, operator *policy) *ruling {
	if user == nil && operator == nil {
		return nil
	}
	key := [2]*policy{user, operator}
	if g := ps.rulings[key]; g != nil {
		return g
	}
	g := &ruling{policy: user, operator: operator}
	switch {
	case operator == nil:
		g.definition = user.Definition
	case user == nil:
		g.definition = operator.Definition
	default:
		g.definition = merge(user.Definition, operator.Definition)
	}
	ps.rulings[key] = g
	return g
}

// ofQueue is what holds for a queue.
func (ps *policies) ofQueue(s *QueueSpec) *ruling {
	if len(ps.ordered[Users]) == 0 && len(ps.ordered[Operators]) == 0 {
		return nil
	}
	kind := ClassicQueues
	if s.Quorum() {
		kind = QuorumQueues
	}
	return ps.together(ps.matching(Users, s.Name, All, Queues, kind), ps.matching(Operators, s.Name, All, Queues, kind))
}

// ofExchange is what holds for an exchange. The default exchange has no policies, as in RabbitMQ.
func (ps *policies) ofExchange(name string) *ruling {
	if name == DefaultExchange {
		return nil
	}
	return ps.together(ps.matching(Users, name, All, Exchanges), nil)
}

// Quorum reports whether the queue was declared as a quorum queue. Every durable queue here keeps what one promises.
func (s *QueueSpec) Quorum() bool {
	kind, _ := s.Arguments.Get(argumentQueueType)
	text, _ := kind.String()
	return text == quorum
}

// SetPolicy adds a policy, or changes the one of that name, for queues and exchanges that are there and that are to come.
// It reports whether there was none. A policy that is wrong is an *Error wrapping ErrInvalid that says everything which
// is; one of the routes file that somebody else wants to change, ErrReserved. p.Definition must not change any more.
func (r *Router) SetPolicy(scope Scope, p Policy) (created bool, receipt confirm.Receipt, err error) {
	p.ApplyTo = cmp.Or(p.ApplyTo, All)
	set, err := r.newPolicy(scope, p)
	if err != nil {
		return false, confirm.Receipt{}, err
	}
	r.mu.Lock()
	old := r.policies.byName[scope][p.Name]
	if old != nil && old.Owner == File && p.Owner != File {
		r.mu.Unlock()
		return false, confirm.Receipt{}, r.policyError(ErrReserved, scope, p.Name)
	}
	set.Lifetimes = nextLifetimes(old, p.Definition, time.Now().UnixMilli())
	receipt, err = r.write(&queue.Tx{Rows: []queue.Row{r.policyRow(scope, &set.Policy)}})
	if err != nil {
		r.mu.Unlock()
		return false, receipt, err
	}
	r.policies.put(scope, p.Name, set)
	r.ruleExchanges()
	r.mu.Unlock()
	changed := r.ruleQueues()
	r.slog.Info(scope.String()+" set", "vhost", r.name, "name", p.Name, "pattern", p.Pattern, "apply-to", string(p.ApplyTo), "queues", changed)
	if keys := p.Definition.ignored(); len(keys) > 0 {
		r.slog.Warn("settings of a policy that mean nothing here", "vhost", r.name, scope.String(), p.Name, "settings", strings.Join(keys, ", "))
	}
	return old == nil, receipt, nil
}

// DeletePolicy removes a policy: an *Error wrapping ErrNotFound when there is none, or ErrReserved.
func (r *Router) DeletePolicy(scope Scope, name string, by Owner) (confirm.Receipt, error) {
	r.mu.Lock()
	old := r.policies.byName[scope][name]
	var err error
	switch {
	case old == nil:
		err = r.policyError(ErrNotFound, scope, name)
	case old.Owner == File && by != File:
		err = r.policyError(ErrReserved, scope, name)
	}
	if err != nil {
		r.mu.Unlock()
		return confirm.Receipt{}, err
	}
	receipt, err := r.write(&queue.Tx{Rows: tombstones([]queue.Row{r.policyRow(scope, &old.Policy)})})
	if err != nil {
		r.mu.Unlock()
		return receipt, err
	}
	r.policies.put(scope, name, nil)
	r.ruleExchanges()
	r.mu.Unlock()
	changed := r.ruleQueues()
	r.slog.Info(scope.String()+" deleted", "vhost", r.name, "name", name, "queues", changed)
	return receipt, nil
}

// Policies returns those of a scope, the first to match first.
func (r *Router) Policies(scope Scope) []Policy {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]Policy, 0, len(r.policies.ordered[scope]))
	for _, p := range r.policies.ordered[scope] {
		list = append(list, p.Policy)
	}
	return list
}

// Policy returns the policy of that name.
func (r *Router) Policy(scope Scope, name string) (Policy, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	p := r.policies.byName[scope][name]
	if p == nil {
		return Policy{}, false
	}
	return p.Policy, true
}

func (r *Router) newPolicy(scope Scope, p Policy) (*policy, error) {
	if faults := p.Check(scope); len(faults) > 0 {
		err := r.policyError(ErrInvalid, scope, p.Name)
		for i, f := range faults {
			if i > 0 {
				err.Reason += "\n"
			}
			err.Reason += f.Text
		}
		return nil, err
	}
	pattern, err := regexp.Compile(p.Pattern)
	return &policy{p, pattern}, err
}

func (r *Router) policyError(err error, scope Scope, name string) *Error {
	return &Error{Err: err, Object: scope.String(), Name: name, VHost: r.name}
}

// ruleAtOnce is how many queues come under other policies while mu is held: whoever declares or looks for something
// waits for no more.
const ruleAtOnce = 256

// ruleQueues puts every queue under the policies that hold now, and has what is over their limits leave. It returns for
// how many queues something has changed. Of two that run at a time each leaves every queue under what holds in the end.
// mu is not held.
func (r *Router) ruleQueues() (changed int) {
	r.mu.RLock()
	queues := slices.Collect(maps.Values(r.queues)) // those that come later are under what holds already
	r.mu.RUnlock()
	for part := range slices.Chunk(queues, ruleAtOnce) {
		r.mu.Lock()
		part = slices.DeleteFunc(part, func(e *queueEntry) bool { return r.queues[e.spec.Name] != e || !r.rule(e) })
		r.mu.Unlock()
		r.enforce(part)
		changed += len(part)
	}
	return changed
}

// rule puts a queue under the policies that hold now and reports whether that is something else. mu is held.
func (r *Router) rule(e *queueEntry) (changed bool) {
	before := e.rule()
	e.ruling = r.policies.ofQueue(&e.spec)
	if e.rule() == before {
		return false
	}
	e.queue.Obey(r.lawsOf(e))
	return true
}

// ruleExchanges puts every exchange under the policies that hold now. mu is held.
func (r *Router) ruleExchanges() {
	var changed []*exchange
	for _, x := range r.exchanges {
		if r.ruleExchange(x) {
			changed = append(changed, x)
		}
	}
	r.changed(changed...)
}

// ruleExchange puts x under the policies that hold now and reports whether its alternate exchange is another one.
// mu is held.
func (r *Router) ruleExchange(x *exchange) (changed bool) {
	before := x.alternate
	x.ruling = r.policies.ofExchange(x.spec.Name)
	x.alternate = x.spec.Alternate
	if name, ok := x.ruling.says().text(keyAlternate); ok && x.alternate == "" {
		x.alternate = name
	}
	return x.alternate != before
}

// enforce has messages leave that are over the limits of their queues.
func (r *Router) enforce(changed []*queueEntry) {
	for _, e := range changed {
		if err := e.queue.Enforce(); err != nil {
			r.slog.Error("messages over a limit stay for now", "vhost", r.name, "queue", e.spec.Name, "err", err)
		}
	}
}
