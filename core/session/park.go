package session

const (
	// parkedBytes is how much one connection may have parked before its reader stops reading.
	parkedBytes = 64 << 10
	// parkedOverhead is what one parked publish counts beside its bytes, so that empty messages are bounded as well.
	parkedOverhead = 64
)

// Park holds, in their order, the publishes that came while the gate was shut. It belongs to the reader. It always has
// room for one, however large, so that every message can pass.
type Park[T any] struct {
	waiting []T
	first   int // of those that wait
	bytes   int
	sizes   []int32
}

// Add parks v, which holds about that many bytes.
func (p *Park[T]) Add(v T, bytes int) {
	bytes += parkedOverhead
	p.waiting, p.sizes = append(p.waiting, v), append(p.sizes, int32(min(bytes, 1<<30)))
	p.bytes += bytes
}

// Len is how many wait.
func (p *Park[T]) Len() int { return len(p.waiting) - p.first }

// Room reports whether a publish of about that many bytes may come on top of what waits.
func (p *Park[T]) Room(bytes int) bool {
	return p.Len() == 0 || p.bytes+bytes+parkedOverhead <= parkedBytes
}

// Next takes the oldest out; false when none waits.
func (p *Park[T]) Next() (v T, ok bool) {
	if p.Len() == 0 {
		return v, false
	}
	v = p.waiting[p.first]
	var none T
	p.waiting[p.first] = none
	p.bytes -= int(p.sizes[p.first])
	p.first++
	if p.Len() == 0 {
		*p = Park[T]{} // an alarm is rare: nothing is kept for the next
	}
	return v, true
}

// Pass has the reader wait until nothing is parked. Each time the gate of in opens, release publishes what is.
func (p *Park[T]) Pass(in *Inlet, release func() error) error {
	for p.Len() > 0 {
		if err := in.WaitOpen(); err != nil {
			return err
		}
		if err := release(); err != nil {
			return err
		}
	}
	return nil
}

// Drop forgets all and returns how many there were.
func (p *Park[T]) Drop() int {
	n := p.Len()
	*p = Park[T]{}
	return n
}
