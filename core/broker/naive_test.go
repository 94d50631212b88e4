package broker_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tridge/core/queue"
	"tridge/core/router"
)

// naive is what a broker should hold, in the plainest way: a slice for each queue. It is told what was done, in order,
// and works out what must be there, also after a crash.
type naive struct {
	laws  map[string]router.QueueSpec
	ready contents
	out   map[string][]waiting // with a consumer
	last  int                  // order given last

	// durable is what the log should hold after each change since it was last known to be synced. A crash leaves one
	// of them: the log is cut where it is torn, so what comes back is a beginning of what was written.
	durable []contents
	// together is set when queues have had messages expire at the same moment: nobody knows in which order they did.
	together bool
}

// contents are the messages of each queue in the order they came.
type contents map[string][]waiting

// waiting is a message in a queue.
type waiting struct {
	body    string
	source  string // the queue it left as a dead letter, "" when a publisher sent it
	order   int
	level   uint8 // priority, as far as the queue knows priorities
	expires int64 // Unix milliseconds, 0 for never
	came    int64
	durable bool
}

func (w waiting) String() string { return fmt.Sprintf("%.6s/%s/%d", w.body, w.source, w.level) }

func newNaive(laws []router.QueueSpec) *naive {
	n := &naive{laws: map[string]router.QueueSpec{}, ready: contents{}, out: map[string][]waiting{}, durable: []contents{{}}}
	for _, s := range laws {
		n.laws[s.Name] = s
	}
	return n
}

func (c contents) clone() contents {
	next := maps.Clone(c)
	for name, list := range next {
		next[name] = slices.Clone(list)
	}
	return next
}

// log notes a record: what it adds to queues and what it takes away, as one fact.
func (n *naive) log(add, remove contents) {
	next := n.durable[len(n.durable)-1].clone()
	changed := false
	for name, list := range remove {
		for _, w := range list {
			if w.durable {
				next[name] = slices.DeleteFunc(next[name], w.is)
				changed = true
			}
		}
	}
	for name, list := range add {
		for _, w := range list {
			if w.durable {
				next[name] = append(next[name], w)
				changed = true
			}
		}
	}
	if changed {
		n.durable = append(n.durable, next)
	}
}

// is reports whether another is the same message: in one queue there is one of each body and source.
func (w waiting) is(other waiting) bool { return w.body == other.body && w.source == other.source }

// synced notes that everything written so far is safe.
func (n *naive) synced() {
	n.syncedThrough(len(n.durable) - 1)
	n.together = false
}

// syncedThrough notes that so many of the changes not known to be synced are safe now.
func (n *naive) syncedThrough(change int) {
	n.durable = n.durable[min(change, len(n.durable)-1):]
}

// publish puts a message into queues, which comes at clock.
func (n *naive) publish(w waiting, queues []string, clock int64) {
	add := contents{}
	w.came = clock
	n.last++
	w.order = n.last
	for _, name := range queues {
		add[name] = []waiting{n.arriving(w, name)}
	}
	n.log(add, nil)
	for _, name := range queues {
		n.put(name, add[name][0])
	}
}

// arriving is w as the queue keeps it.
func (n *naive) arriving(w waiting, name string) waiting {
	s := n.laws[name]
	w.level = min(w.level, s.MaxPriority)
	if s.HasTTL && (w.expires == 0 || w.expires > w.came+s.TTL) {
		w.expires = w.came + s.TTL
	}
	return w
}

// put adds a message that has been written and drops from the head what is too much.
func (n *naive) put(name string, w waiting) {
	n.insert(name, w)
	n.shrink(name, w.came)
}

// shrink drops from the head what is too much.
func (n *naive) shrink(name string, clock int64) {
	for limit, ok := n.laws[name].MaxLength.Value(); ok && len(n.ready[name]) > int(limit); {
		n.leave(name, n.removeFront(name), clock)
	}
}

// insert adds a message at its place in the queue: before the first that comes after it. Dead letters are compared with
// those of the same source only, see prefer.
func (n *naive) insert(name string, w waiting) {
	list := n.ready[name]
	at := slices.IndexFunc(list, func(other waiting) bool {
		return before(w, other) < 0 && (name != lateQueue || other.source == w.source)
	})
	if at < 0 {
		at = len(list)
	}
	n.ready[name] = slices.Insert(list, at, w)
}

// before is the order of a queue: by priority, then as they came.
func before(a, b waiting) int {
	return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(a.order, b.order))
}

func (n *naive) removeFront(name string) waiting {
	w := n.ready[name][0]
	n.ready[name] = n.ready[name][1:]
	return w
}

// leave ends a message: it becomes a dead letter, where its queue has them.
func (n *naive) leave(name string, w waiting, clock int64) {
	if s := n.laws[name]; s.DeadLetter {
		dead := waiting{body: w.body, source: name, durable: w.durable, level: w.level, came: clock}
		n.last++
		dead.order = n.last
		dead = n.arriving(dead, s.DeadLetterKey)
		n.log(contents{s.DeadLetterKey: {dead}}, contents{name: {w}})
		n.put(s.DeadLetterKey, dead)
		return
	}
	n.log(nil, contents{name: {w}})
}

// prefer brings messages forward that were found at the front of a queue of dead letters, if each was the first of its
// source: the order of sources is open, because queues bury at the same time.
func (n *naive) prefer(name string, found []waiting) {
	list := n.ready[name]
	for at, w := range found {
		i := slices.IndexFunc(list, func(other waiting) bool {
			return other.source == w.source && !slices.ContainsFunc(found[:at], other.is)
		})
		if i < at || !list[i].is(w) {
			return
		}
		w = list[i]
		list = slices.Insert(slices.Delete(list, i, i+1), at, w)
	}
	n.ready[name] = list
}

// take hands out up to most messages. What has expired leaves when its turn comes.
func (n *naive) take(name string, most int, clock int64) (taken []waiting) {
	var late []waiting
	for len(n.ready[name]) > 0 && len(taken) < most {
		w := n.removeFront(name)
		if w.expired(clock) {
			late = append(late, w)
			continue
		}
		taken = append(taken, w)
	}
	n.out[name] = append(n.out[name], taken...)
	for _, w := range late {
		n.leave(name, w, clock)
	}
	return taken
}

func (w waiting) expired(clock int64) bool { return w.expires != 0 && w.expires <= clock }

// expire has messages leave that have expired and are the first of their priority.
func (n *naive) expire(clock int64) {
	queues := 0
	for _, name := range slices.Sorted(maps.Keys(n.laws)) {
		seen := map[uint8]bool{} // priorities whose first message stays
		var late []waiting
		n.ready[name] = slices.DeleteFunc(n.ready[name], func(w waiting) bool {
			if seen[w.level] || !w.expired(clock) {
				seen[w.level] = true
				return false
			}
			late = append(late, w)
			return true
		})
		for _, w := range late {
			n.leave(name, w, clock)
		}
		if len(late) > 0 {
			queues++
		}
	}
	n.together = n.together || queues > 1
}

// settle ends what is out.
func (n *naive) settle(name string, ws []waiting, how queue.Outcome, clock int64) {
	for _, w := range ws {
		n.out[name] = slices.DeleteFunc(n.out[name], w.is)
	}
	switch how {
	case queue.Ack:
		n.log(nil, contents{name: ws})
	case queue.Reject:
		for _, w := range ws {
			n.leave(name, w, clock)
		}
	default:
		for _, w := range ws {
			n.insert(name, w)
		}
		n.shrink(name, clock)
	}
}

func (n *naive) purge(name string) int {
	purged := n.ready[name]
	n.ready[name] = nil
	n.log(nil, contents{name: purged})
	return len(purged)
}

// restart is what comes back: everything the log holds, whoever had it.
func (n *naive) restart(from contents) {
	n.durable, n.together = []contents{from}, false
	n.ready, n.out = contents{}, map[string][]waiting{}
	for name, list := range from {
		for _, w := range list {
			n.insert(name, w)
		}
	}
}

// after returns a copy that has come back with from.
func (n *naive) after(from contents) *naive {
	next := &naive{laws: n.laws, last: n.last}
	next.restart(from)
	return next
}

// everything takes out all messages of all queues, in order of their names, and puts them back. Those that were with a
// consumer when the broker ended count towards the limits again, so the oldest may have left before anybody looks.
func (n *naive) everything(clock int64) contents {
	all := contents{}
	n.expire(clock)
	for _, name := range slices.Sorted(maps.Keys(n.laws)) {
		n.shrink(name, clock)
	}
	for _, name := range slices.Sorted(maps.Keys(n.laws)) {
		all[name] = n.take(name, len(n.ready[name]), clock)
		n.settle(name, all[name], queue.Release, clock)
	}
	return all
}

// String lists contents so that those are equal which may not be told apart: messages of one queue, one source and one
// priority are in order, and the order of sources is open, because queues bury at the same time.
func (c contents) String() string {
	var lines []string
	for name, list := range c {
		streams := map[string][]string{}
		for _, w := range list {
			from := fmt.Sprintf("%s, priority %d, from %q", name, w.level, w.source)
			streams[from] = append(streams[from], fmt.Sprintf("%.6s", w.body))
		}
		for from, bodies := range streams {
			lines = append(lines, fmt.Sprintf("%s: %s", from, strings.Join(bodies, " ")))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
