package amqp

import (
	"cmp"
	"iter"
	"slices"

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
// arithmetic; a chunk whose slots are all settled is given up, and one that the others have long left behind is a stray:
// so a delivery that is never acknowledged keeps a chunk, and not a place for everything that came after it. It is
// guarded by the outbox.
type unacked struct {
	last   uint64   // highest tag given out
	first  uint64   // tag / chunkSize of chunks[head]
	chunks []*chunk // nil where everything is settled
	head   int      // chunks before it are gone
	live   int      // of chunks that are not nil
	strays []stray  // left behind, ascending; all before first
	count  int      // deliveries held
	spare  *chunk
}

// stray is a chunk that is not in the list any more.
type stray struct {
	number uint64 // tag / chunkSize
	*chunk
}

// The list may have so many places, and so many for each chunk in it, before the chunk at its front becomes a stray.
const (
	placesAtLeast = 64
	placesPerLive = 8
)

// skip gives out a tag for a delivery that needs no acknowledgement.
func (u *unacked) skip() uint64 {
	u.last++
	return u.last
}

// add keeps a delivery and returns its tag.
func (u *unacked) add(s slot) uint64 {
	u.last++
	number := u.last / chunkSize
	if number >= u.end() {
		u.leaveBehind()
	}
	if u.head == len(u.chunks) {
		u.chunks, u.head, u.first = u.chunks[:0], 0, number
	}
	for number >= u.end() {
		u.chunks = append(u.chunks, nil)
	}
	at := &u.chunks[u.head+int(number-u.first)]
	if *at == nil {
		*at = u.newChunk()
		u.live++
	}
	(*at).slots[u.last%chunkSize] = s
	(*at).used++
	u.count++
	return u.last
}

// end is the number of the first chunk behind the list.
func (u *unacked) end() uint64 { return u.first + uint64(len(u.chunks)-u.head) }

// leaveBehind makes strays of chunks at the front of a list that has become long for what is in it.
func (u *unacked) leaveBehind() {
	for places := u.places(); u.live > 0 && places > placesAtLeast && places > placesPerLive*u.live; places = u.places() {
		u.strays = append(u.strays, stray{u.first, u.chunks[u.head]})
		u.drop(u.first)
	}
}

func (u *unacked) places() int { return len(u.chunks) - u.head }

// drop takes the chunk of that number, which there is, out of the list or from among the strays.
func (u *unacked) drop(number uint64) {
	if number < u.first {
		if at, _ := u.findStray(number); at == 0 { // as it is when all go
			u.strays[0].chunk = nil
			u.strays = u.strays[1:]
		} else {
			u.strays = slices.Delete(u.strays, at, at+1)
		}
		return
	}
	u.chunks[u.head+int(number-u.first)] = nil
	u.live--
	u.trim()
}

// take ends the delivery of that tag and returns it; false when there is none.
func (u *unacked) take(tag uint64) (slot, bool) {
	c := u.chunkOf(tag)
	if c == nil {
		return slot{}, false
	}
	s := c.slots[tag%chunkSize]
	if s.subscription == nil {
		return slot{}, false
	}
	c.slots[tag%chunkSize] = slot{}
	u.count--
	if c.used--; c.used == 0 {
		u.drop(tag / chunkSize)
		u.spare = c
	}
	return s, true
}

// takeThrough ends every delivery up to and including tag, oldest first, and appends them to dst. It takes nothing
// and returns false when tag names no delivery that is held; tag 0 names all of them (0-9-1, basic.ack).
func (u *unacked) takeThrough(dst []slot, tag uint64) ([]slot, bool) {
	if tag == 0 {
		tag = u.last
	} else if !u.holds(tag) {
		return dst, false
	}
	for len(u.strays) > 0 && u.strays[0].number*chunkSize <= tag {
		left := len(u.strays)
		if dst = u.takeOf(dst, u.strays[0].number, tag); len(u.strays) == left {
			return dst, true // what is left in it comes after tag
		}
	}
	for u.head < len(u.chunks) && u.first*chunkSize <= tag {
		number := u.first // the chunk at the front is never empty, and taking its last delivery moves the front
		if dst = u.takeOf(dst, number, tag); u.first == number {
			break
		}
	}
	return dst, true
}

// takeOf ends the deliveries of one chunk up to and including tag.
func (u *unacked) takeOf(dst []slot, number, tag uint64) []slot {
	for i := number * chunkSize; i < (number+1)*chunkSize && i <= tag; i++ {
		if s, ok := u.take(i); ok {
			dst = append(dst, s)
		}
	}
	return dst
}

// at returns the slot of a tag that is held.
func (u *unacked) at(tag uint64) *slot { return &u.chunkOf(tag).slots[tag%chunkSize] }

// holds reports whether the delivery of that tag is held.
func (u *unacked) holds(tag uint64) bool {
	c := u.chunkOf(tag)
	return c != nil && c.slots[tag%chunkSize].subscription != nil
}

// from iterates over the tags held from one to another, oldest first; to 0 means to the last.
func (u *unacked) from(tag, to uint64) iter.Seq[uint64] {
	if to == 0 {
		to = u.last
	}
	return func(yield func(uint64) bool) {
		at, _ := u.findStray(tag / chunkSize)
		for _, s := range u.strays[at:] {
			if !s.each(s.number, tag, to, yield) {
				return
			}
		}
		first := max(u.first, tag/chunkSize)
		for number := first; number < u.end() && number*chunkSize <= to; number++ {
			if c := u.chunks[u.head+int(number-u.first)]; c != nil && !c.each(number, tag, to, yield) {
				return
			}
		}
	}
}

// each calls yield with the tags held of the chunk of that number, from one to another, until it returns false.
func (c *chunk) each(number, tag, to uint64, yield func(uint64) bool) bool {
	for i := range c.slots {
		each := number*chunkSize + uint64(i)
		if each >= tag && each <= to && c.slots[i].subscription != nil && !yield(each) {
			return false
		}
	}
	return true
}

// chunkOf is the chunk of tag, nil when nothing of it is held.
func (u *unacked) chunkOf(tag uint64) *chunk {
	number := tag / chunkSize
	switch {
	case number >= u.end():
		return nil
	case number >= u.first:
		return u.chunks[u.head+int(number-u.first)]
	}
	if at, found := u.findStray(number); found {
		return u.strays[at].chunk
	}
	return nil
}

// findStray returns where the stray of that number is among the strays, or would be.
func (u *unacked) findStray(number uint64) (at int, found bool) {
	return slices.BinarySearchFunc(u.strays, number, func(s stray, number uint64) int { return cmp.Compare(s.number, number) })
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
