package mqtt

import (
	"slices"

	"tridge/core/confirm"
	"tridge/core/queue"
)

// subscribe handles SUBSCRIBE (3.8): one binding and one row per filter. SUBACK is written when they are safe, so it
// is a promise that nothing published from now on is missed.
func (c *conn) subscribe(p *subscribePacket) error {
	if err := c.fitsCodes(len(p.requests)); err != nil {
		return err
	}
	codes := make([]byte, len(p.requests))
	var receipt confirm.Receipt
	changed := map[string]subscription{}
	greeted := map[string]subscription{} // that begin with retained messages
	for i := range p.requests {
		if c.ctx.Err() != nil { // nobody is left to be answered
			break
		}
		sub := newSubscription(p.requests[i], p.identifier)
		if sub.kind == kindShared && sub.noLocal { // [MQTT-3.8.3-4]
			return protocolError("no local on a shared subscription")
		}
		known, safe, reason := c.addFilter(&sub)
		if reason.Failed() {
			codes[i] = c.failure(reason)
			continue
		}
		codes[i] = sub.qos
		receipt = receipt.Join(safe)
		if known {
			changed[sub.filter] = sub
		}
		if c.wantsRetained(&sub, known) {
			greeted[sub.filter] = sub
		}
	}
	c.changeFilters(changed)
	fresh := c.openCursors(p.requests, greeted)
	if err := c.waitFor(receipt); err != nil {
		return err
	}
	sub, err := c.listen()
	if err != nil {
		return err
	}
	b := c.out.Begin()
	feeds := c.attach()
	c.opened = c.out.Round()
	if !c.closed {
		c.answers++
		b = appendSuback(b, c.version, p.id, codes)
		c.cursors = slices.DeleteFunc(c.cursors, func(cur *cursor) bool {
			_, again := greeted[cur.sub.filter]
			return again
		})
		c.cursors = append(c.cursors, fresh...)
	}
	if c.sub == nil { // the writer reads it without the outbox once it is set
		c.sub = sub
	}
	c.out.End(b)
	c.source.Wake()
	for _, f := range feeds {
		f.source.Wake()
	}
	return nil
}

// failure is a SUBACK code: before 5.0 there is only one (3.1.1, section 3.9.3).
func (c *conn) failure(r Reason) byte {
	if c.version < version5 {
		return byte(ReasonUnspecified)
	}
	return byte(r)
}

// addFilter adds a subscription to the session. When there is one to the same filter, known says so and the caller
// changes it [MQTT-3.8.4-3].
func (c *conn) addFilter(sub *subscription) (known bool, safe confirm.Receipt, reason Reason) {
	cs := c.session
	if _, _, ok := parseFilter(sub.filter); !ok || c.server.limits.tooDeep(sub.filter) { // [MQTT-4.7.1-1]
		return false, safe, ReasonTopicFilterInvalid
	}
	_, known = find(cs.filters, sub.filter)
	if !known && len(cs.filters) >= c.server.limits.Filters {
		return false, safe, ReasonQuotaExceeded
	}
	if sub.kind == kindQueue { // a queue that others take from cannot know that a message is this client's for ever
		sub.qos = min(sub.qos, qos1)
	}
	declared := confirm.Receipt{}
	if needsOwnQueue(sub, cs.durable) {
		var err error
		if declared, err = c.server.openQueue(cs); err != nil {
			c.logger().Warn("subscription refused", "filter", sub.filter, "err", err)
			return known, safe, ReasonImplementationSpecific
		}
	}
	bound := confirm.Receipt{}
	if sub.kind != kindPlain {
		if bound, reason = c.addFeed(sub, known); reason.Failed() {
			return known, safe, reason
		}
		if !known {
			c.setFilters(append(cs.filters, *sub))
		}
	} else if !known {
		var err error
		// The options must be known before the first message comes by the binding.
		c.setFilters(append(cs.filters, *sub)) // beyond what a writer that has the list sees
		if bound, err = cs.host.Router.Bind(cs.binding(sub.filter), cs.origin); err != nil {
			c.setFilters(without(cs.filters, sub.filter))
			c.logger().Warn("subscription refused", "filter", sub.filter, "err", err)
			return known, safe, ReasonImplementationSpecific
		}
	}
	safe = declared.Join(bound)
	if cs.durable { // after the binding: a row without one would promise messages that never come
		noted, err := c.server.config.State.Put(cs.filterRow(sub))
		if err != nil {
			c.logger().Error("subscription not written", "filter", sub.filter, "err", err)
			return known, safe, ReasonUnspecified
		}
		safe = safe.Join(noted)
	}
	return known, safe, ReasonSuccess
}

// changeFilters gives filters of the session new options: all those of one packet with one new list.
func (c *conn) changeFilters(changed map[string]subscription) {
	if len(changed) == 0 {
		return
	}
	list := slices.Clone(c.session.filters)
	for i := range list {
		if sub, ok := changed[list[i].filter]; ok {
			list[i] = sub
		}
	}
	c.setFilters(list)
}

// setFilters replaces the list that the writer matches against.
func (c *conn) setFilters(list []subscription) {
	c.server.subscriptions.Add(int64(len(list) - len(c.session.filters)))
	b := c.out.Begin()
	c.session.filters = list
	c.out.End(b)
}

// waitFor blocks the reader until a declaration is safe, or the connection ends.
func (c *conn) waitFor(r confirm.Receipt) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if err := r.Wait(c.ctx); err != nil {
		return &Error{Reason: ReasonUnspecified, Text: "internal error", Cause: err}
	}
	return nil
}

// unsubscribe handles UNSUBSCRIBE (3.10). What was sent is finished; what waits is dropped and counted.
func (c *conn) unsubscribe(id uint16, filters []string) error {
	if err := c.fitsCodes(len(filters)); err != nil {
		return err
	}
	codes := make([]byte, len(filters))
	gone := map[string]bool{}
	var receipt confirm.Receipt
	for i, filter := range filters {
		if c.ctx.Err() != nil {
			break
		}
		sub, known := find(c.session.filters, filter)
		if !known || gone[filter] {
			codes[i] = byte(ReasonNoSubscriptionExisted)
			continue
		}
		safe, err := c.removeFilter(&sub)
		if err != nil {
			c.logger().Warn("filter not unsubscribed", "filter", filter, "err", err)
			codes[i] = byte(ReasonImplementationSpecific)
			continue
		}
		receipt = receipt.Join(safe)
		gone[filter] = true
	}
	c.setFilters(slices.DeleteFunc(slices.Clone(c.session.filters), func(s subscription) bool { return gone[s.filter] }))
	b := c.out.Begin()
	c.cursors = slices.DeleteFunc(c.cursors, func(cur *cursor) bool { return gone[cur.sub.filter] })
	c.out.End(b)
	if err := c.waitFor(receipt); err != nil {
		return err
	}
	b = c.out.Begin()
	if !c.closed {
		c.answers++
		b = appendUnsuback(b, c.version, id, codes)
	}
	c.out.End(b)
	return nil
}

// removeFilter removes the row and the binding of a filter, in this order (format.md).
func (c *conn) removeFilter(sub *subscription) (confirm.Receipt, error) {
	filter := sub.filter
	cs := c.session
	var noted confirm.Receipt
	if cs.durable {
		var err error
		if noted, err = c.server.config.State.Put(cs.filterTombstone(filter)); err != nil {
			return noted, err
		}
	}
	var unbound confirm.Receipt
	var err error
	if sub.kind != kindPlain {
		c.dropFeed(filter)
	}
	switch sub.kind {
	case kindPlain:
		unbound, err = cs.host.Router.Unbind(cs.binding(filter), cs.origin)
	case kindShared:
		unbound, err = c.server.leave(cs.host, filter)
	}
	return noted.Join(unbound), err
}

// listen takes a place at the session's queue, if it has one. Until the connection's sub is set nothing is taken, so
// the answer to the client goes out first; but the queue knows from now on that somebody listens and keeps what it
// drops for an idle session.
func (c *conn) listen() (*queue.Subscription, error) {
	if c.session.queue == nil || c.sub != nil { // sub is set by this goroutine only
		return c.sub, nil
	}
	sub, err := c.session.queue.Subscribe(&c.source, queue.SubscribeOptions{})
	return sub, queueGone(err)
}
