package queue

// PageSmall makes p write pages however small they are.
func PageSmall(p *Pager) { p.small = 0 }

// Mortal is how many messages of q are counted as ones that expire some day.
func Mortal(q *Local) int { return q.ready.mortal }
