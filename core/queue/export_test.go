package queue

// PageSmall makes p write pages however small they are.
func PageSmall(p *Pager) { p.small = 0 }
