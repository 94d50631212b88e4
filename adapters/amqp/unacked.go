package amqp

import (
	"iter"

	"tridge/core/queue"
)

// slot is one delivery that waits for its acknowledgement.
type slot struct {
	delivery     queue.Delivery
	subscription *queue.Subscription // nil marks a free slot
	consumer     *consumer           // nil for basic.get
	deadline     int64               // Unix milliseconds; 0 for none, late when the delivery has gone back already
}

const chunkSize = 32

type chunk struct {
	slots [chunkSize]slot
	used  int
}

// unacked holds the deliveries of one channel by delivery tag. Tags are consecutive, so a slot is found by
// arithmetic; a chunk whose slots are all settled is given up, so that one delivery left behind for ever keeps a chunk
// and a pointer per chunk behind it, and not everything. It is guarded by the outbox.
type unacked struct {
	last   uint64   // highest tag given out
	first  uint64   // tag / chunkSize of chunks[head]
	chunks []*chunk // nil where everything is settled
	head   int      // chunks before it are gone
	count  int      // deliveries held
	spare  *chunk
}

// skip gives out a tag for a delivery that needs no acknowledgement.
func (u *unacked) skip() uint64 {
	u.last++
	return u.last
}

// add keeps a delivery and returns its tag.
func (u *unacked) add(s slot) uint64 {
	u.last++
	number := u.last / chunkSize
	if u.head == len(u.chunks) {
		u.chunks, u.head, u.first = u.chunks[:0], 0, number
	}
	for number >= u.first+uint64(len(u.chunks)-u.head) {
		u.chunks = append(u.chunks, nil)
	}
	at := &u.chunks[u.head+int(number-u.first)]
	if *at == nil {
		*at = u.newChunk()
	}
	(*at).slots[u.last%chunkSize] = s
	(*at).used++
	u.count++
	return u.last
}

// take ends the delivery of that tag and returns it; false when there is none.
func (u *unacked) take(tag uint64) (slot, bool) {
	at := u.place(tag)
	if at == nil || *at == nil {
		return slot{}, false
	}
	c := *at
	s := c.slots[tag%chunkSize]
	if s.subscription == nil {
		return slot{}, false
	}
	c.slots[tag%chunkSize] = slot{}
	u.count--
	if c.used--; c.used == 0 {
		*at, u.spare = nil, c
		u.trim()
	}
	return s, true
}

// takeThrough ends every delivery up to and including tag, oldest first, and appends them to dst. It takes nothing
// and returns false when tag names no delivery that is held; tag 0 names all of them (0-9-1, basic.ack).
func (u *unacked) takeThrough(dst []slot, tag uint64) ([]slot, bool) {
	if tag == 0 {
		tag = u.last
	} else if at := u.place(tag); at == nil || *at == nil || (*at).slots[tag%chunkSize].subscription == nil {
		return dst, false
	}
	for u.head < len(u.chunks) && u.first*chunkSize <= tag {
		number := u.first // the chunk at the front is never empty, and taking its last delivery moves the front
		for i := number * chunkSize; i < (number+1)*chunkSize && i <= tag && u.first == number; i++ {
			if s, ok := u.take(i); ok {
				dst = append(dst, s)
			}
		}
		if u.first == number {
			break // what is left in it comes after tag
		}
	}
	return dst, true
}

// at returns the slot of a tag that is held.
func (u *unacked) at(tag uint64) *slot { return &(*u.place(tag)).slots[tag%chunkSize] }

// holds reports whether the delivery of that tag is held.
func (u *unacked) holds(tag uint64) bool {
	at := u.place(tag)
	return at != nil && *at != nil && (*at).slots[tag%chunkSize].subscription != nil
}

// through iterates over the tags held up to and including tag, oldest first; tag 0 means all of them.
func (u *unacked) through(tag uint64) iter.Seq[uint64] {
	if tag == 0 {
		tag = u.last
	}
	return func(yield func(uint64) bool) {
		for i := range u.chunks[u.head:] {
			number := u.first + uint64(i)
			if u.chunks[u.head+i] == nil {
				continue
			}
			for each := number * chunkSize; each < (number+1)*chunkSize && each <= tag; each++ {
				if u.holds(each) && !yield(each) {
					return
				}
			}
		}
	}
}

// place is where the chunk of tag hangs, nil when it is out of range.
func (u *unacked) place(tag uint64) **chunk {
	number := tag / chunkSize
	if number < u.first || number >= u.first+uint64(len(u.chunks)-u.head) {
		return nil
	}
	return &u.chunks[u.head+int(number-u.first)]
}

// trim moves past the chunks at the front that are gone, and moves the rest to the front once most of the list is.
func (u *unacked) trim() {
	for u.head < len(u.chunks) && u.chunks[u.head] == nil {
		u.head++
		u.first++
	}
	if u.head > chunkSize && u.head > len(u.chunks)/2 {
		kept := copy(u.chunks, u.chunks[u.head:])
		clear(u.chunks[kept:])
		u.chunks, u.head = u.chunks[:kept], 0
	}
}

func (u *unacked) newChunk() *chunk {
	if c := u.spare; c != nil {
		u.spare = nil
		return c
	}
	return new(chunk)
}
