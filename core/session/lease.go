package session

import "sync"

const (
	leaseSize = flushAt + 16<<10 // a round goes over flushAt by one message, which is rarely larger
	maxLease  = 4 * leaseSize    // one that grew beyond is not worth keeping
)

// lease is a write buffer. A connection has one while it has something to write: ten thousand idle ones share none, and
// a busy one does not grow it anew after every pause.
type lease struct{ buffer []byte }

// leases is a cache and nothing else: what is in it has no owner and no meaning.
var leases = sync.Pool{New: func() any { return &lease{make([]byte, 0, leaseSize)} }}

func borrow() (*lease, []byte) {
	l := leases.Get().(*lease)
	return l, l.buffer
}

// giveBack ends the lease; buffer is what it has become.
func (l *lease) giveBack(buffer []byte) {
	if l != nil && cap(buffer) <= maxLease {
		l.buffer = buffer[:0]
		leases.Put(l)
	}
}
