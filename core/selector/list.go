package selector

import "math"

// list is what IN looks in. It is made for lists of thousands, which people generate.
type list struct {
	texts    map[string]struct{}
	integers map[int64]struct{}
	decimals map[float64]struct{}
	rounded  map[float64]struct{} // the integers, for who looks with a decimal
}

func newList(values []value) *list {
	l := &list{texts: map[string]struct{}{}, integers: map[int64]struct{}{}, decimals: map[float64]struct{}{}, rounded: map[float64]struct{}{}}
	for _, v := range values {
		switch v.kind {
		case text:
			l.texts[v.s] = struct{}{}
		case integer:
			l.integers[v.i] = struct{}{}
			l.rounded[v.float()] = struct{}{}
		case decimal:
			l.decimals[v.f] = struct{}{}
		}
	}
	return l
}

// has reports whether something in the list equals v, as operator.holds has it.
func (l *list) has(v value) bool {
	if v.isText() {
		if _, in := l.texts[v.s]; in {
			return true
		}
	}
	if len(l.integers) == 0 && len(l.decimals) == 0 {
		return false
	}
	n := v.asNumber()
	if n.kind == unknown || math.IsNaN(n.f) {
		return false
	}
	_, in := l.decimals[n.float()]
	if n.kind == integer {
		_, same := l.integers[n.i]
		return in || same
	}
	_, same := l.rounded[n.f]
	return in || same
}
