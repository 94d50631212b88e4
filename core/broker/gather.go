package broker

import "tridge/core/queue"

// The log tells of messages in the order they came, which is queue after queue when many queues are filled in turn: to
// hand over each at once is to fetch another queue's memory for each. So messages are gathered and handed over queue by
// queue. A message of a batch costs 72 bytes until then, which is 57 MB of a full one.
const (
	gatherPerQueue = 16 // messages for each queue that a batch is made for
	minGathered    = 4 << 10
	maxGathered    = 768 << 10
	maxGatheredRun = 256 // messages that a queue gets at once: it has its lock meanwhile
)

// gatherer hands messages to their queues, those of a queue in the order they were added.
type gatherer struct {
	restore func(id uint32, found []queue.Found) // found is valid only during the call

	limit   int           // messages of a batch
	found   []queue.Found // of this batch, in the order they were added
	order   []uint64      // of each the queue's id in the upper half, its index in found in the lower
	sorting []uint64      // the other half of the sort
	run     []queue.Found // of one queue
}

func newGatherer(restore func(uint32, []queue.Found)) *gatherer {
	return &gatherer{restore: restore, limit: minGathered, run: make([]queue.Found, 0, maxGatheredRun)}
}

// expect makes the batches as large as that many queues are worth.
func (g *gatherer) expect(queues int) {
	g.limit = max(minGathered, min(maxGathered, queues*gatherPerQueue))
}

// add has a message wait for its queue, and hands over everything when the batch is full.
func (g *gatherer) add(id uint32, f queue.Found) {
	if len(g.found) == cap(g.found) {
		g.grow()
	}
	g.order = append(g.order, uint64(id)<<32|uint64(len(g.found)))
	if g.found = append(g.found, f); len(g.found) == g.limit {
		g.flush()
	}
}

// grow doubles the batch up to its limit: most logs hold less than one.
func (g *gatherer) grow() {
	n := min(g.limit, max(minGathered, 2*cap(g.found)))
	g.found = append(make([]queue.Found, 0, n), g.found...)
	g.order = append(make([]uint64, 0, n), g.order...)
	g.sorting = make([]uint64, n)
}

// flush hands over what was added.
func (g *gatherer) flush() {
	g.sort()
	for from := 0; from < len(g.order); {
		id := uint32(g.order[from] >> 32)
		g.run = g.run[:0]
		for from < len(g.order) && uint32(g.order[from]>>32) == id && len(g.run) < maxGatheredRun {
			g.run = append(g.run, g.found[uint32(g.order[from])])
			from++
		}
		g.restore(id, g.run)
	}
	g.found, g.order = g.found[:0], g.order[:0]
}

// sort orders by the queues' ids and leaves those of one queue as they are: a radix sort, eleven bits at a time, of as
// many bits as the ids differ in.
func (g *gatherer) sort() {
	const bits = 11
	same, differ := uint64(0), uint64(0)
	if len(g.order) > 0 {
		same = g.order[0]
	}
	for _, o := range g.order {
		differ |= o ^ same
	}
	for shift := 32; shift < 64 && differ>>shift != 0; shift += bits {
		var next [1 << bits]int
		for _, o := range g.order {
			next[o>>shift&(1<<bits-1)]++
		}
		at := 0
		for i, n := range next {
			next[i] = at
			at += n
		}
		sorted := g.sorting[:len(g.order)]
		for _, o := range g.order {
			digit := o >> shift & (1<<bits - 1)
			sorted[next[digit]] = o
			next[digit]++
		}
		g.order, g.sorting = sorted, g.order[:cap(g.order)]
	}
}
