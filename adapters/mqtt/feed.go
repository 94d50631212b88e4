package mqtt

import (
	"errors"
	"slices"
	"strings"

	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/session"
)

// feed is a queue beside the session's own that a connection takes from: that of a shared subscription, or one that was
// declared elsewhere. Others take from it as well, so what this client leaves unfinished goes back to it; but a message of
// quality of service 2 is finished by the client it was first sent to, or by nobody [MQTT-4.8.2-4] [MQTT-4.8.2-5].
type feed struct {
	// immutable
	conn   *conn
	queue  *queue.Local
	kind   filterKind
	filter string
	source session.Source

	// reader goroutine
	place *queue.Subscription // what sub will be
	acked []queue.Delivery    // acknowledged and not settled yet

	// guarded by the outbox
	sub     *queue.Subscription // nil until the client has its SUBACK
	options subscription
	ended   bool // unsubscribed: what was sent is finished, nothing more is taken

	// writer goroutine
	parked bool // in conn.parked: it waits for room in the client's window
}

// openFeed takes a place at the queue. Nothing is taken from it before attach.
func (c *conn) openFeed(q *queue.Local, sub *subscription) error {
	f := &feed{conn: c, queue: q, kind: sub.kind, filter: sub.filter, options: *sub}
	f.source.Init(c.out, f)
	place, err := q.Subscribe(&f.source, queue.SubscribeOptions{})
	if err != nil {
		return err
	}
	f.place = place
	c.opening = append(c.opening, f)
	return nil
}

// attach lets the feeds opened since the last call take from their queues, and returns them: the caller wakes them when it
// has given up the outbox, which is held.
func (c *conn) attach() (attached []*feed) {
	for _, f := range c.opening {
		f.sub = f.place
	}
	attached, c.opening = c.opening, nil
	c.feeds = append(c.feeds, attached...)
	return attached
}

// abandonFeeds gives up the places taken on behalf of a request that ends the connection.
func (c *conn) abandonFeeds() {
	for _, f := range c.opening {
		f.place.Close()
	}
	c.opening = nil
}

// feedOf returns the feed of a filter, nil when there is none. Reader goroutine.
func (c *conn) feedOf(filter string) *feed {
	for _, list := range [2][]*feed{c.feeds, c.opening} {
		for _, f := range list {
			if f.filter == filter {
				return f
			}
		}
	}
	return nil
}

// addFeed makes the client a consumer of what a shared or queue filter names.
func (c *conn) addFeed(sub *subscription, known bool) (safe confirm.Receipt, reason Reason) {
	if f := c.feedOf(sub.filter); f != nil {
		b := c.out.Begin()
		f.options = *sub
		c.out.End(b)
		return safe, ReasonSuccess
	}
	host := c.session.host
	var q *queue.Local
	var err error
	switch {
	case sub.kind == kindQueue:
		q, err = c.namedQueue(sub.pattern)
	case known:
		q, safe, err = c.server.rejoin(host, sub.filter)
	default:
		q, safe, err = c.server.join(host, sub.filter)
	}
	if err == nil {
		if err = c.openFeed(q, sub); err != nil && sub.kind == kindShared && !known {
			_, failed := c.server.leave(host, sub.filter)
			err = errors.Join(err, failed)
		}
	}
	if err != nil {
		c.logger().Warn("subscription refused", "filter", sub.filter, "err", err)
	}
	return safe, refusal(err)
}

// namedQueue returns the queue a $queue filter names. Those of sessions are their clients' own.
func (c *conn) namedQueue(name string) (*queue.Local, error) {
	if strings.HasPrefix(name, sessionPrefix) || strings.HasPrefix(name, sharePrefix) {
		return nil, router.ErrLocked
	}
	return c.session.host.Router.Queue(name, c.session.origin)
}

// refusal is the SUBACK code for a queue that cannot be consumed.
func refusal(err error) Reason {
	switch {
	case err == nil:
		return ReasonSuccess
	case errors.Is(err, router.ErrNotFound), errors.Is(err, queue.ErrClosed):
		return ReasonTopicFilterInvalid // well formed, and not there
	case errors.Is(err, router.ErrLocked), errors.Is(err, queue.ErrExclusive):
		return ReasonNotAuthorized
	}
	return ReasonImplementationSpecific
}

// resumeFeeds takes the places again that a session had at queues beside its own. What is not there any more is no longer
// subscribed to.
func (c *conn) resumeFeeds() error {
	cs, s := c.session, c.server
	for _, sub := range cs.filters {
		if sub.kind == kindPlain {
			continue
		}
		if needsOwnQueue(&sub, cs.durable) {
			if _, err := s.openQueue(cs); err != nil {
				return err
			}
		}
		if _, reason := c.addFeed(&sub, true); !reason.Failed() {
			continue
		}
		c.setFilters(without(cs.filters, sub.filter))
		if cs.durable {
			if _, err := s.config.State.Put(cs.filterTombstone(sub.filter)); err != nil {
				return err
			}
		}
		if sub.kind == kindShared {
			if _, err := s.leave(cs.host, sub.filter); err != nil {
				return err
			}
		}
	}
	return nil
}

// needsOwnQueue reports whether a subscription has messages wait in the session's own queue: a shared one does when they
// move there to be finished.
func needsOwnQueue(sub *subscription, durable bool) bool {
	return sub.kind == kindPlain || sub.kind == kindShared && sub.qos == qos2 && durable
}

// dropFeed ends a feed for UNSUBSCRIBE: what was sent is finished.
func (c *conn) dropFeed(filter string) {
	f := c.feedOf(filter)
	if f == nil {
		return
	}
	b := c.out.Begin()
	f.ended = true
	c.feeds = slices.DeleteFunc(c.feeds, func(other *feed) bool { return other == f })
	c.out.End(b)
	f.sub.Close()
}

// detachFeeds ends the feeds of a connection that has ended: what its client left unfinished is for others.
func (c *conn) detachFeeds(fed map[*feed][]queue.Delivery) {
	for f, tokens := range fed { // also of those unsubscribed from meanwhile
		if _, err := f.sub.Settle(tokens, queue.Requeue); err != nil && !errors.Is(err, queue.ErrClosed) {
			c.logger().Error("deliveries not requeued", "queue", f.queue.Name(), "err", err)
		}
	}
	for _, f := range c.feeds {
		f.sub.Close()
	}
}

// settle is conn.settle for what came by a feed.
func (f *feed) settle(d queue.Delivery, reason Reason) error {
	if reason.Failed() {
		return f.end(d, queue.Reject)
	}
	if len(f.acked) == 0 {
		f.conn.unsettled = append(f.conn.unsettled, f)
	}
	f.acked = append(f.acked, d)
	if len(f.acked) >= settleAt {
		return f.flushAcks()
	}
	return nil
}

func (f *feed) end(d queue.Delivery, how queue.Outcome) error {
	list := [1]queue.Delivery{d}
	_, err := f.sub.Settle(list[:], how)
	return queueGone(err)
}

// flushAcks tells the queue what the client has acknowledged.
func (f *feed) flushAcks() error {
	if len(f.acked) == 0 {
		return nil
	}
	_, err := f.sub.Settle(f.acked, queue.Ack)
	clear(f.acked)
	f.acked = f.acked[:0]
	return queueGone(err)
}

// Fill implements session.Filler.
func (f *feed) Fill(dst []byte) (out []byte, more bool) {
	c := f.conn
	b := c.out.Begin()
	in := &c.session.inflight
	sub, options, over, early := f.sub, f.options, c.closed || f.ended, c.answering()
	room := in.room()
	if len(in.sendable) > 0 { // what was begun goes first
		room = 0
	}
	c.starved = c.starved || room == 0
	c.out.End(b)
	switch {
	case sub == nil || over:
		return dst, false
	case early:
		return dst, true
	case room == 0:
		f.check(sub.Take(nil))
		if !f.parked {
			f.parked = true
			c.parked = append(c.parked, f)
		}
		return dst, false
	}
	if c.taken == nil {
		c.taken = make([]queue.Delivery, idleBatch)
	}
	n, ok := f.check(sub.Take(c.taken[:min(room, len(c.taken))]))
	if !ok || n == 0 {
		c.unpark()
		return dst, false
	}
	dst = f.send(dst, sub, c.taken[:n], &options)
	c.tellOut()
	clear(c.taken[:n])
	c.unpark()
	return dst, true
}

// check ends the connection when the queue is gone: MQTT has no other way to say that a subscription is over.
func (f *feed) check(n int, err error) (int, bool) {
	if err == nil {
		return n, true
	}
	b := f.conn.out.Begin()
	ended := f.ended
	f.conn.out.End(b)
	if ended { // it is our place that is closed
		return 0, false
	}
	if errors.Is(err, queue.ErrClosed) {
		err = &Error{Reason: ReasonAdministrativeAction, Text: "a queue that was subscribed to was deleted", Cause: err}
	}
	f.conn.stop(err)
	return 0, false
}

// unpark lets the next feed that waits for room look whether there is some. Each passes it on, so that none looks in vain
// while another has taken all.
func (c *conn) unpark() {
	if len(c.parked) == 0 {
		return
	}
	f := c.parked[0]
	c.parked = append(c.parked[:0], c.parked[1:]...)
	f.parked = false
	f.source.Wake()
}
