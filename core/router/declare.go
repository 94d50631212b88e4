package router

import (
	"slices"
	"strconv"
	"unicode/utf8"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
)

// DeclareExchange declares an exchange. Declaring one that is there with the same properties is fine; with others it
// is an *Error wrapping ErrInequivalent that names the first difference.
func (r *Router) DeclareExchange(s ExchangeSpec) (confirm.Receipt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x := r.exchanges[s.Name]; x != nil {
		if err := r.compareExchange(&x.spec, &s); err != nil {
			return confirm.Receipt{}, err
		}
		if s.Owner == File && x.spec.Owner == Client {
			x.spec.Owner = File // the file takes over what a client had declared alike
			var err error
			x.declared, err = r.write(&queue.Tx{Rows: r.exchangeRows(&x.spec)})
			return x.declared, err
		}
		return x.declared, nil // another's declaration that may not be safe yet
	}
	if reserved(s.Name) {
		return confirm.Receipt{}, r.exchangeError(ErrReserved, s.Name)
	}
	if !utf8.ValidString(s.Name) || !utf8.ValidString(s.Alternate) {
		return confirm.Receipt{}, r.exchangeError(ErrInvalidName, s.Name)
	}
	if _, wrong := newHashOn(s.Arguments); s.Kind == ConsistentHash && wrong != "" {
		return confirm.Receipt{}, &Error{Err: ErrInvalid, Object: "exchange", Name: s.Name, VHost: r.name, Reason: wrong}
	}
	receipt, err := r.write(&queue.Tx{Rows: r.exchangeRows(&s)})
	if err != nil {
		return receipt, err
	}
	x := newExchange(s)
	x.declared = receipt
	r.ruleExchange(x)
	r.exchanges[s.Name] = x
	r.changed(x)
	return receipt, nil
}

func (r *Router) compareExchange(have, want *ExchangeSpec) error {
	e := r.exchangeError(ErrInequivalent, want.Name)
	switch {
	case have.TypeName() != want.TypeName():
		e.Argument, e.Current, e.Received = "type", have.TypeName(), want.TypeName()
	case have.Durable != want.Durable:
		e.Argument, e.Current, e.Received = "durable", strconv.FormatBool(have.Durable), strconv.FormatBool(want.Durable)
	case have.AutoDelete != want.AutoDelete:
		e.Argument, e.Current, e.Received = "auto_delete", strconv.FormatBool(have.AutoDelete), strconv.FormatBool(want.AutoDelete)
	case have.Internal != want.Internal:
		e.Argument, e.Current, e.Received = "internal", strconv.FormatBool(have.Internal), strconv.FormatBool(want.Internal)
	default:
		if have.Owner == System || !e.compareArguments(have.Arguments, want.Arguments, exchangeArgument) {
			return nil
		}
	}
	return e
}

// DeleteExchange deletes an exchange and its bindings. ifUnused refuses while bindings lead from it.
func (r *Router) DeleteExchange(name string, ifUnused bool, by Owner) (confirm.Receipt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.exchanges[name]
	switch {
	case x == nil:
		return confirm.Receipt{}, r.exchangeError(ErrNotFound, name)
	case x.spec.Owner == System || by == Client && x.spec.Owner == File:
		return confirm.Receipt{}, r.exchangeError(ErrReserved, name)
	case ifUnused && len(x.bindings) > 0:
		return confirm.Receipt{}, r.exchangeError(ErrInUse, name)
	}
	var tx queue.Tx
	r.removeExchange(&tx, x)
	return r.write(&tx)
}

// removeExchange takes x out of the maps and adds what must be forgotten to tx. mu is held.
func (r *Router) removeExchange(tx *queue.Tx, x *exchange) {
	r.changed(x)
	delete(r.exchanges, x.spec.Name)
	tx.Rows = append(tx.Rows, tombstones(r.exchangeRows(&x.spec))...)
	for identity, b := range x.bindings {
		r.removeBinding(tx, identity, b)
	}
	for b := range x.incoming {
		r.removeBinding(tx, r.identity(&b.spec), b)
	}
}

// DeclareQueue declares a queue for the session of that origin and returns it. Declaring one that is there with the
// same properties is fine; with others it is an *Error wrapping ErrInequivalent that names the first difference.
func (r *Router) DeclareQueue(s QueueSpec, origin uint64) (*queue.Local, confirm.Receipt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queues[s.Name] != nil {
		e, err := r.entry(s.Name, origin)
		if err == nil {
			err = r.compareQueue(&e.spec, &s)
		}
		if err != nil {
			return nil, confirm.Receipt{}, err
		}
		e.queue.Renew()
		if s.Owner == File && e.spec.Owner == Client {
			e.spec.Owner = File // the file takes over what a client had declared alike
			e.declared, err = r.write(&queue.Tx{Rows: r.queueRows(&e.spec, e.queue.ID())})
		}
		return e.queue, e.declared, err // it may be another's declaration that is not safe yet
	}
	if !utf8.ValidString(s.Name) || !utf8.ValidString(s.DeadLetterExchange) {
		return nil, confirm.Receipt{}, r.queueError(ErrInvalidName, s.Name)
	}
	id, tx := uint32(0), queue.Tx{}
	if s.Durable && s.Exclusive == 0 {
		id, tx.Rows = r.nextID()
		tx.Rows = append(tx.Rows, r.queueRows(&s, id)...)
	}
	receipt, err := r.write(&tx)
	if err != nil {
		return nil, receipt, err
	}
	e := r.addQueue(s, id)
	e.declared = receipt
	return e.queue, receipt, nil
}

// addQueue makes the queue and tells cached routes. mu is held.
func (r *Router) addQueue(s QueueSpec, id uint32) *queueEntry {
	e := &queueEntry{spec: s}
	e.ruling = r.policies.ofQueue(&e.spec)
	e.queue = r.lawsOf(e).Queue(s.Name, id)
	r.queues[s.Name] = e
	if s.Exclusive != 0 {
		r.exclusive[s.Exclusive] = append(r.exclusive[s.Exclusive], e)
	}
	r.changed(r.exchanges[DefaultExchange])
	return e
}

// sharedLaws is how many laws are kept for queues to share.
const sharedLaws = 64

// lawsOf returns what a queue is to obey: laws that others have already, if there are such. Queues in their thousands are
// mostly alike. mu is held.
func (r *Router) lawsOf(e *queueEntry) *queue.Laws {
	s := &e.spec
	rule := e.rule()
	shape := shape{rule, s.MaxPriority, s.SingleActive, s.DropTransientWhenIdle}
	shared := rule.expires == 0 && !rule.deadLetter && !s.AutoDelete // none of them calls back about its queue
	if laws := r.laws[shape]; shared && laws != nil {
		return laws
	}
	o := queue.Options{
		MaxLength: rule.maxLength, MaxBytes: rule.maxBytes, Overflow: rule.overflow, MaxAttempts: rule.maxAttempts,
		DropTransientWhenIdle: s.DropTransientWhenIdle, Bodies: r.bodies, Pager: r.pager, Clock: r.clock,
		Single: s.SingleActive, MaxPriority: s.MaxPriority, HasTTL: rule.hasTTL, TTL: rule.ttl, Expires: rule.expires, Slog: r.slog,
	}
	age := int64(0)
	if s.DropTransientWhenIdle {
		o.Session = r.session
		if age = r.session.Age; age > 0 && (!o.HasTTL || age < o.TTL) {
			o.HasTTL, o.TTL = true, age
		}
	}
	setFormerTTL(&o, rule.ownTTL, age, rule.timed)
	if rule.expires > 0 {
		o.Unused = func() { r.deleteUnused(e) }
	}
	if rule.deadLetter {
		to := graveOf(s.Name, &rule)
		o.DeadLetter = func(ds []queue.Delivery, why queue.Reason) (confirm.Receipt, error) {
			return r.deadLetter(e, to, ds, why), nil
		}
	}
	if s.AutoDelete {
		o.Idle = func() { r.deleteIdle(e) }
	}
	laws := queue.NewLaws(r.log, o)
	if shared {
		if len(r.laws) >= sharedLaws {
			clear(r.laws)
		}
		r.laws[shape] = laws
	}
	return laws
}

// shape is what queues of shared laws may differ in.
type shape struct {
	rule
	maxPriority                   uint8
	single, dropTransientWhenIdle bool
}

func (r *Router) compareQueue(have, want *QueueSpec) error {
	e := r.queueError(ErrInequivalent, want.Name)
	switch {
	case have.Durable != want.Durable:
		e.Argument, e.Current, e.Received = "durable", strconv.FormatBool(have.Durable), strconv.FormatBool(want.Durable)
	case have.AutoDelete != want.AutoDelete:
		e.Argument, e.Current, e.Received = "auto_delete", strconv.FormatBool(have.AutoDelete), strconv.FormatBool(want.AutoDelete)
	case (have.Exclusive == 0) != (want.Exclusive == 0):
		e.Argument, e.Current, e.Received = "exclusive", strconv.FormatBool(have.Exclusive != 0), strconv.FormatBool(want.Exclusive != 0)
	default:
		if !e.compareArguments(have.Arguments, want.Arguments, queueArgument) {
			return nil
		}
	}
	return e
}

// none is how RabbitMQ writes an argument that is not there.
const none = "none"

// compareArguments fills e with the first argument that differs and reports whether one does. Arguments that mean nothing
// to the gateway are not compared: applications put there what they like.
func (e *Error) compareArguments(have, want message.Headers, means func(name string) bool) bool {
	for name, w := range want.All() {
		h, ok := have.Get(name)
		if !means(name) || ok && equalValues(h, w) {
			continue
		}
		e.Argument, e.Current, e.Received, e.ReceivedType = name, none, w.Text(), w.Type
		if ok {
			e.Current, e.CurrentType = h.Text(), h.Type
		}
		return true
	}
	for name, h := range have.All() {
		if _, ok := want.Get(name); !ok && means(name) {
			e.Argument, e.Current, e.CurrentType, e.Received = name, h.Text(), h.Type, none
			return true
		}
	}
	return false
}

// exchangeArgument reports whether an argument of that name makes one exchange another.
func exchangeArgument(name string) bool {
	return name == "alternate-exchange" || name == ArgumentHashHeader || name == ArgumentHashProperty || name == DelayedArgument
}

// queueArgument reports whether an argument of that name makes one queue another: those RabbitMQ compares.
func queueArgument(name string) bool {
	switch name {
	case "x-expires", "x-message-ttl", "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-dead-letter-strategy", "x-max-length",
		"x-max-length-bytes", "x-max-priority", "x-overflow", "x-queue-mode", "x-single-active-consumer", "x-queue-type", "x-delivery-limit",
		"x-consumer-timeout":
		return true
	}
	return false
}

// DeleteQueue deletes a queue and returns how many ready messages went with it. A condition that does not hold is an
// *Error wrapping ErrInUse or ErrNotEmpty.
func (r *Router) DeleteQueue(name string, origin uint64, c queue.Condition, by Owner) (int, confirm.Receipt, error) {
	r.mu.Lock()
	e, err := r.entry(name, origin)
	if err == nil && by == Client && e.spec.Owner == File {
		err = r.queueError(ErrReserved, name)
	}
	if err != nil {
		r.mu.Unlock()
		return 0, confirm.Receipt{}, err
	}
	n, receipt, err := r.deleteQueue(e, c)
	r.mu.Unlock()
	if err != nil {
		return 0, confirm.Receipt{}, err
	}
	discarded, err := e.queue.Discard()
	if discarded.By != nil {
		receipt = discarded // it comes later, and is safe later
	}
	return n, receipt, err
}

// deleteQueue closes the queue and writes the end of its bindings and declaration as one record. Its messages, which
// may be millions, are ended by whoever calls it, with mu released: Local.Discard. mu is held.
func (r *Router) deleteQueue(e *queueEntry, c queue.Condition) (int, confirm.Receipt, error) {
	n, err := e.queue.Close(c)
	switch err {
	case nil:
	case queue.ErrInUse:
		return 0, confirm.Receipt{}, r.queueError(ErrInUse, e.spec.Name)
	case queue.ErrNotEmpty:
		return 0, confirm.Receipt{}, r.queueError(ErrNotEmpty, e.spec.Name)
	default:
		return 0, confirm.Receipt{}, err
	}
	delete(r.queues, e.spec.Name)
	if owned := r.exclusive[e.spec.Exclusive]; owned != nil {
		r.exclusive[e.spec.Exclusive] = slices.DeleteFunc(slices.Clone(owned), func(o *queueEntry) bool { return o == e })
	}
	var tx queue.Tx
	if e.queue.ID() != 0 {
		tx.Rows = append(tombstones(r.queueRows(&e.spec, e.queue.ID())), e.queue.DeliveredRows()...)
	}
	for b := range e.incoming {
		r.removeBinding(&tx, r.identity(&b.spec), b)
	}
	r.changed(r.exchanges[DefaultExchange])
	receipt, err := r.write(&tx)
	return n, receipt, err
}

// deleteIdle deletes an auto-delete queue whose last consumer has left, unless another has come meanwhile.
func (r *Router) deleteIdle(e *queueEntry) {
	r.mu.Lock()
	_, _, err := r.deleteQueue(e, queue.Condition{IfUnused: true})
	r.mu.Unlock()
	if err == nil {
		_, err = e.queue.Discard()
	}
	switch {
	case err == nil || err == queue.ErrClosed:
	case isError(err, ErrInUse):
	default:
		r.slog.Error("auto-delete queue not deleted", "vhost", r.name, "queue", e.spec.Name, "err", err)
	}
}

// deleteUnused deletes a queue that has not been used for as long as it may, unless somebody has come meanwhile.
func (r *Router) deleteUnused(e *queueEntry) {
	r.mu.Lock()
	_, _, err := r.deleteQueue(e, queue.Condition{IfUnused: true, IfExpired: true})
	r.mu.Unlock()
	if err == nil {
		_, err = e.queue.Discard()
	}
	switch {
	case err == nil:
		r.slog.Info("queue expired", "vhost", r.name, "queue", e.spec.Name)
	case err == queue.ErrClosed || isError(err, ErrInUse):
	default:
		r.slog.Error("expired queue not deleted", "vhost", r.name, "queue", e.spec.Name, "err", err)
	}
}
