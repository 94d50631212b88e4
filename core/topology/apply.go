package topology

import (
	"context"
	"errors"
	"fmt"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
)

// Report says what Apply did.
type Report struct {
	Declared int      // objects that are new or were changed
	Deleted  int      // objects the file has no longer
	Kept     []string // objects the file has no longer that could not go yet, each with the reason
}

// Apply makes r hold what changes ask for, as Compile returned them: it declares what is missing, deletes what the
// file owned and has no longer, and leaves alone what clients declared. When something in the way is found beforehand
// nothing is changed and the error joins an *Error for each such place. It returns when everything is durable.
//
// No message is lost by an edit of the file: a queue that the file has no longer, or has with other limits, is deleted
// only when it is empty. An exchange that clients have bound stays as well.
func Apply(ctx context.Context, r *router.Router, changes []Change) (Report, error) {
	a := application{router: r, have: look(r)}
	a.plan(changes)
	if len(a.errs) > 0 {
		return Report{}, errors.Join(a.errs...)
	}
	if err := a.run(); err != nil {
		return a.report, err
	}
	if err := a.receipt.Wait(ctx); err != nil {
		return a.report, fmt.Errorf("topology: declarations are not durable: %w", err)
	}
	return a.report, nil
}

// present is what a router holds, by name.
type present struct {
	exchanges map[string]router.ExchangeSpec
	queues    map[string]router.QueueInfo
	bindings  map[bindingIdentity]router.Binding
	policies  map[policyIdentity]router.Policy
}

func look(r *router.Router) present {
	p := present{
		exchanges: map[string]router.ExchangeSpec{}, queues: map[string]router.QueueInfo{}, bindings: map[bindingIdentity]router.Binding{},
		policies: map[policyIdentity]router.Policy{},
	}
	for _, scope := range [...]router.Scope{router.Users, router.Operators} {
		for _, each := range r.Policies(scope) {
			p.policies[policyIdentity{scope, each.Name}] = each
		}
	}
	for _, x := range r.Exchanges() {
		p.exchanges[x.Name] = x
	}
	for _, q := range r.Queues() {
		p.queues[q.Name] = q
	}
	for _, b := range r.Bindings() {
		p.bindings[identify(&b)] = b
	}
	return p
}

// bindingIdentity is what makes two bindings the same.
type bindingIdentity struct {
	source, destination string
	toExchange          bool
	key, arguments      string
	noDollar            bool
	newKey              string
}

func identify(b *router.Binding) bindingIdentity {
	return bindingIdentity{b.Source, b.Destination, b.ToExchange, b.Key, string(b.Arguments), b.NoDollar, b.NewKey}
}

// application is one run of Apply.
type application struct {
	router *router.Router
	have   present

	// the plan, in the order it is carried out
	replacedExchanges []string
	replacedQueues    []string
	declare           []Change
	unbind            []router.Binding
	oldQueues         []string
	oldExchanges      []string
	oldPolicies       []policyIdentity

	errs    []error
	receipt confirm.Receipt // joins those of all steps
	report  Report
}

// plan finds the difference and everything that is in the way of it.
func (a *application) plan(changes []Change) {
	exchanges, queues, bindings := map[string]bool{}, map[string]bool{}, map[bindingIdentity]bool{}
	policies := map[policyIdentity]bool{}
	replaced := map[string]bool{} // objects whose bindings go with them, by kind and name
	for _, change := range changes {
		missing := true
		switch {
		case change.Policy != nil:
			policies[policyIdentity{change.Scope, change.Policy.Name}] = true
			missing = a.planPolicy(change)
		case change.Exchange != nil:
			exchanges[change.Exchange.Name] = true
			missing = a.planExchange(change, replaced)
		case change.Queue != nil:
			queues[change.Queue.Name] = true
			missing = a.planQueue(change, replaced)
		case change.Binding != nil:
			b := change.Binding
			bindings[identify(b)] = true
			have, found := a.have.bindings[identify(b)]
			missing = !found || have.Owner != router.File || replaced[exchangeKey(b.Source)] || replaced[destinationKey(b)]
		}
		if missing {
			a.declare = append(a.declare, change)
		}
	}
	for id, b := range a.have.bindings {
		if b.Owner == router.File && !bindings[id] && !replaced[exchangeKey(b.Source)] && !replaced[destinationKey(&b)] {
			a.unbind = append(a.unbind, b)
		}
	}
	for id, p := range a.have.policies {
		if p.Owner == router.File && !policies[id] {
			a.oldPolicies = append(a.oldPolicies, id)
		}
	}
	for name, q := range a.have.queues {
		if q.Owner == router.File && !queues[name] {
			a.oldQueues = append(a.oldQueues, name)
		}
	}
	for name, x := range a.have.exchanges {
		if x.Owner == router.File && !exchanges[name] {
			a.oldExchanges = append(a.oldExchanges, name)
		}
	}
}

// planExchange reports whether the exchange has to be declared.
func (a *application) planExchange(change Change, replaced map[string]bool) bool {
	want := change.Exchange
	have, found := a.have.exchanges[want.Name]
	switch {
	case !found:
		return true
	case have.Kind == want.Kind && have.Delayed == want.Delayed && have.Durable == want.Durable && have.AutoDelete == want.AutoDelete &&
		have.Internal == want.Internal && sameFields(have.Arguments, want.Arguments):
		return have.Owner != router.File // taken over from a client
	case have.Owner != router.File:
		a.fail(change.Where, "exchange %q is there already, declared by a client with other properties; delete it, or take it out of the file", want.Name)
	case a.boundByClient(exchangeKey(want.Name)):
		a.fail(change.Where, "exchange %q is there with other properties and clients have bound it; unbind it first, or give the new one another name", want.Name)
	default:
		a.replacedExchanges = append(a.replacedExchanges, want.Name)
		replaced[exchangeKey(want.Name)] = true
	}
	return true
}

// planQueue reports whether the queue has to be declared.
func (a *application) planQueue(change Change, replaced map[string]bool) bool {
	want := change.Queue
	have, found := a.have.queues[want.Name]
	switch {
	case !found:
		return true
	case have.Durable == want.Durable && have.AutoDelete == want.AutoDelete && have.Exclusive == want.Exclusive &&
		sameFields(have.QueueSpec.Arguments, want.Arguments):
		return have.Owner != router.File
	case have.Owner != router.File:
		a.fail(change.Where, "queue %q is there already, declared by a client with other properties; delete it, or take it out of the file", want.Name)
	case have.Ready > 0 || have.Unacked > 0:
		a.fail(change.Where, "queue %q is there with other properties and holds %d messages; empty it first, or give the new one another name", want.Name, have.Ready+have.Unacked)
	case a.boundByClient(queueKey(want.Name)):
		a.fail(change.Where, "queue %q is there with other properties and clients have bound it; unbind it first, or give the new one another name", want.Name)
	default:
		a.replacedQueues = append(a.replacedQueues, want.Name)
		replaced[queueKey(want.Name)] = true
	}
	return true
}

func exchangeKey(name string) string { return "exchange " + name }
func queueKey(name string) string    { return "queue " + name }

func destinationKey(b *router.Binding) string {
	if b.ToExchange {
		return exchangeKey(b.Destination)
	}
	return queueKey(b.Destination)
}

// boundByClient reports whether a client has made a binding from or to an object.
func (a *application) boundByClient(key string) bool {
	for _, b := range a.have.bindings {
		if b.Owner == router.Client && (exchangeKey(b.Source) == key || destinationKey(&b) == key) {
			return true
		}
	}
	return false
}

// sameFields compares arguments whatever their order: a client whose queue the file took over had its own.
func sameFields(a, b message.Headers) bool { return fieldsIn(a, b) && fieldsIn(b, a) }

// fieldsIn reports whether b has every field of a.
func fieldsIn(a, b message.Headers) bool {
	for name, v := range a.All() {
		w, ok := b.Get(name)
		if !ok {
			return false
		}
		if x, isInt := v.Int(); isInt {
			if y, areInts := w.Int(); !areInts || x != y {
				return false
			}
		} else if v.Type != w.Type || string(v.Raw) != string(w.Raw) {
			return false
		}
	}
	return true
}

func (a *application) fail(at Where, format string, args ...any) {
	a.errs = append(a.errs, &Error{Where: at, Text: fmt.Sprintf(format, args...)})
}

// run carries out the plan. What is new comes before what is old goes, so that a message published meanwhile finds at
// least one way.
func (a *application) run() error {
	for _, name := range a.replacedExchanges {
		if err := a.deleteExchange(name); err != nil {
			return err
		}
	}
	for _, name := range a.replacedQueues {
		if err := a.deleteQueue(name); err != nil {
			return err
		}
	}
	a.report = Report{} // a replacement is not a deletion
	for _, change := range a.declare {
		if err := a.declareOne(change); err != nil {
			return &Error{Where: change.Where, Text: err.Error()}
		}
		a.report.Declared++
	}
	for _, b := range a.unbind {
		b.Owner = router.File
		receipt, err := a.router.Unbind(b, 0)
		if err != nil {
			return err
		}
		a.receipt = a.receipt.Join(receipt)
		a.report.Deleted++
	}
	for _, id := range a.oldPolicies {
		if err := a.deletePolicy(id); err != nil && !errors.Is(err, router.ErrNotFound) {
			return err
		}
	}
	for _, name := range a.oldQueues {
		err := a.deleteQueue(name)
		switch {
		case errors.Is(err, router.ErrNotEmpty):
			a.report.Kept = append(a.report.Kept, fmt.Sprintf("queue %q: not in the routes file any more, but it holds messages", name))
		case err != nil && !errors.Is(err, router.ErrNotFound):
			return err
		}
	}
	for _, name := range a.oldExchanges {
		if a.boundByClient(exchangeKey(name)) {
			a.report.Kept = append(a.report.Kept, fmt.Sprintf("exchange %q: not in the routes file any more, but clients have bound it", name))
			continue
		}
		if err := a.deleteExchange(name); err != nil && !errors.Is(err, router.ErrNotFound) {
			return err
		}
	}
	return nil
}

func (a *application) declareOne(change Change) error {
	var receipt confirm.Receipt
	var err error
	switch {
	case change.Policy != nil:
		err = a.setPolicy(change)
	case change.Exchange != nil:
		receipt, err = a.router.DeclareExchange(*change.Exchange)
	case change.Queue != nil:
		_, receipt, err = a.router.DeclareQueue(*change.Queue, 0)
	case change.Binding != nil:
		receipt, err = a.router.Bind(*change.Binding, 0)
	}
	a.receipt = a.receipt.Join(receipt)
	return err
}

// deleteQueue deletes a queue that holds nothing.
func (a *application) deleteQueue(name string) error {
	// The condition counts waiting messages only; those a consumer has not settled may still come back.
	if a.have.queues[name].Unacked > 0 {
		return &router.Error{Err: router.ErrNotEmpty, Object: "queue", Name: name, VHost: a.router.Name()}
	}
	_, receipt, err := a.router.DeleteQueue(name, 0, queue.Condition{IfEmpty: true}, router.File)
	if err != nil {
		return err
	}
	a.receipt = a.receipt.Join(receipt)
	a.report.Deleted++
	return nil
}

func (a *application) deleteExchange(name string) error {
	receipt, err := a.router.DeleteExchange(name, false, router.File)
	if err != nil {
		return err
	}
	a.receipt = a.receipt.Join(receipt)
	a.report.Deleted++
	return nil
}
