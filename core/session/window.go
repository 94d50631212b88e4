package session

// Window is credit: how many deliveries may be unsettled at once. It belongs to the session, which guards it with its
// outbox; a queue only ever sees the room that is left as the length of a slice.
type Window struct {
	Limit int // 0 is unlimited
	Used  int
}

// unlimited is the room an unlimited window offers per round.
const unlimited = 256

// Room is how many more deliveries fit.
func (w *Window) Room() int {
	if w.Limit == 0 {
		return unlimited
	}
	return max(0, w.Limit-w.Used)
}
