package queue

// PageSmall makes p write pages however small they are.
func PageSmall(p *Pager) { p.small = 0 }

// Mortal is how many messages of q are counted as ones that expire some day.
func Mortal(q *Local) int { return q.ready.mortal }

// Due is what the clock does at that time.
func Due(q *Local, clock int64) error { return q.due(clock) }
