package queue

import (
	"sync"

	"tridge/core/message"
)

// Delayed holds messages until they are due and then hands them over, in order of their times and, of one time, in the
// order of the log. Of a message in the log it keeps the position and the time; its body is read when it is due.
type Delayed struct {
	// immutable
	name    string
	clock   *Clock // nil: nothing is ever due
	release func(due []Held) (back []Held, err error)

	// guarded by mu. Leaf but for the clock.
	mu        sync.Mutex
	heap      []waiting
	transient map[uint64]*message.Message // those not in the log, by the Seq they were given here
	order     uint64                      // of the last of them
	armed     int64                       // when the clock was told to call, 0 when it was not or has
	retry     int64                       // not before this time, because what was due could not leave

	alarm alarm // guarded by the clock's mu
}

// Held is one message that was waiting.
type Held struct {
	Due     int64            // Unix milliseconds
	Pos     Pos              // in the log, zero when it is not there
	Message *message.Message // set when it is not in the log
}

// waiting is what one message costs while it waits: a million take 32 MB.
type waiting struct {
	due int64
	pos Pos // Seq of a message that is not in the log has transientID, and names it in Delayed.transient
}

// Bounds of what is handed over at once: its bodies are in memory and go into one record.
const (
	releaseAtOnce = 256
	releaseBytes  = 1 << 20
)

// NewDelayed returns an empty one. release is called by the clock's goroutine, with no lock held, and takes over what is
// due; what it returns goes on waiting until the time it has then. With an error it has taken nothing: then each is offered
// alone, so that one that cannot leave holds up no other, and those that fail again wait a second. The name is for the
// clock's errors.
func NewDelayed(name string, clock *Clock, release func(due []Held) (back []Held, err error)) *Delayed {
	return &Delayed{name: name, clock: clock, release: release, transient: map[uint64]*message.Message{}}
}

// Name is the name it was made with.
func (d *Delayed) Name() string { return d.name }

// Len is the number of messages that wait.
func (d *Delayed) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.heap)
}

// Put adds a message.
func (d *Delayed) Put(h Held) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.add(h)
	d.arm(0)
}

// add is Put under mu.
func (d *Delayed) add(h Held) {
	w := waiting{due: h.Due, pos: h.Pos}
	if h.Pos.Seq == 0 {
		d.order++
		w.pos.Seq = d.order | transientID
		d.transient[w.pos.Seq] = h.Message
	}
	d.push(w)
}

func (d *Delayed) clockAlarm() *alarm { return &d.alarm }

// arm tells the clock when the first is due, but not before a time. mu is held.
func (d *Delayed) arm(notBefore int64) {
	if d.clock == nil || len(d.heap) == 0 {
		return
	}
	at := max(d.heap[0].due, notBefore, d.retry)
	if d.armed == 0 || at < d.armed {
		d.armed = at
		d.clock.set(d, at)
	}
}

// due hands over a portion of what the time has come for.
func (d *Delayed) due(clock int64) error {
	d.mu.Lock()
	d.armed = 0
	var portion []Held
	if clock >= d.retry && d.clock.holds() {
		d.retry = clock + retryAfter
	}
	for bytes := 0; clock >= d.retry && len(portion) < releaseAtOnce && bytes < releaseBytes; {
		if len(d.heap) == 0 || d.heap[0].due > clock {
			break
		}
		w := d.pop()
		h := Held{Due: w.due, Pos: w.pos}
		bytes += int(w.pos.Size)
		if w.pos.Seq&transientID != 0 {
			h.Pos, h.Message = Pos{}, d.transient[w.pos.Seq]
			delete(d.transient, w.pos.Seq)
			bytes += h.Message.Size()
		}
		portion = append(portion, h)
	}
	d.mu.Unlock()
	if len(portion) == 0 {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.arm(clock)
		return nil
	}
	back, failed, err := d.offer(portion, clock)
	d.mu.Lock()
	defer d.mu.Unlock()
	if failed { // it is not about any of them, so those behind would fare no better
		d.retry = clock + retryAfter
	}
	for _, h := range back {
		d.add(h)
	}
	d.arm(clock) // behind those that have waited longer
	return err
}

// offer has a portion released, together or else one by one. It returns what goes on waiting, whether that is all of it
// because of an error, and the error. It is called without mu.
func (d *Delayed) offer(portion []Held, clock int64) (back []Held, failed bool, err error) {
	if back, err = d.release(portion); err == nil {
		return back, false, nil
	}
	if len(portion) == 1 { // those behind are before it the next time, should it be to blame
		return []Held{{Due: clock + retryAfter, Pos: portion[0].Pos, Message: portion[0].Message}}, true, err
	}
	left := 0
	var last error
	for i := range portion {
		one := portion[i : i+1]
		again, err := d.release(one)
		if err != nil {
			last = err
			left++
			again = []Held{{Due: clock + retryAfter, Pos: one[0].Pos, Message: one[0].Message}}
		}
		back = append(back, again...)
	}
	if left == len(portion) { // none has its own time then: the next attempt finds them in order
		return portion, true, last
	}
	return back, false, last
}

// before is the order of the heap. What is not in the log comes after what is.
func (w *waiting) before(other *waiting) bool {
	return w.due < other.due || w.due == other.due && w.pos.Seq < other.pos.Seq
}

// push and pop are those of a binary heap. container/heap would allocate for each.
func (d *Delayed) push(w waiting) {
	d.heap = append(d.heap, w)
	i := len(d.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !w.before(&d.heap[parent]) {
			break
		}
		d.heap[i] = d.heap[parent]
		i = parent
	}
	d.heap[i] = w
}

func (d *Delayed) pop() waiting {
	first := d.heap[0]
	last := len(d.heap) - 1
	w := d.heap[last]
	d.heap = d.heap[:last]
	if last == 0 {
		d.heap = nil // a burst that is over must not pin its size for good
		return first
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= last {
			break
		}
		if right := child + 1; right < last && d.heap[right].before(&d.heap[child]) {
			child = right
		}
		if !d.heap[child].before(&w) {
			break
		}
		d.heap[i] = d.heap[child]
		i = child
	}
	d.heap[i] = w
	return first
}
