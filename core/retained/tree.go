package retained

import (
	"slices"
	"sort"
	"strings"
)

// node is a run of bytes that keys have in common. A tree of them has fewer inner nodes than keys, however many words those
// are made of: what a publisher makes it keep is what he has sent, and a constant.
type node struct {
	label    string  // the bytes after those of the parent; of its own memory
	children []*node // by the first byte of their labels, which differ
	value    *value  // of the key that ends here; nil when none does
}

// child returns the place of the child that begins with b, and whether there is one.
func (n *node) child(b byte) (int, bool) {
	i := sort.Search(len(n.children), func(i int) bool { return n.children[i].label[0] >= b })
	return i, i < len(n.children) && n.children[i].label[0] == b
}

// common is how many bytes a and b begin with alike.
func common(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// get returns the node of a key below n; nil when there is none.
func (n *node) get(key string) *node {
	for key != "" {
		i, ok := n.child(key[0])
		if !ok || !strings.HasPrefix(key, n.children[i].label) {
			return nil
		}
		n = n.children[i]
		key = key[len(n.label):]
	}
	return n
}

// make returns the node of a key below n, which is made when there is none.
func (n *node) make(key string) *node {
	for key != "" {
		i, ok := n.child(key[0])
		if !ok {
			leaf := &node{label: strings.Clone(key)}
			n.children = slices.Insert(n.children, i, leaf)
			return leaf
		}
		next := n.children[i]
		shared := common(next.label, key)
		if shared < len(next.label) {
			upper := &node{label: strings.Clone(next.label[:shared]), children: []*node{next}}
			next.label = strings.Clone(next.label[shared:])
			n.children[i], next = upper, upper
		}
		n, key = next, key[shared:]
	}
	return n
}

// remove removes the value v of key, unless another has taken its place, and the nodes nobody needs then.
func (n *node) remove(key string, v *value) {
	var path []*node // the nodes above the key's
	for key != "" {
		i, ok := n.child(key[0])
		if !ok || !strings.HasPrefix(key, n.children[i].label) {
			return
		}
		path = append(path, n)
		n = n.children[i]
		key = key[len(n.label):]
	}
	if n.value != v {
		return
	}
	n.value = nil
	for len(path) > 0 && n.value == nil {
		parent := path[len(path)-1]
		path = path[:len(path)-1]
		switch len(n.children) {
		case 0:
			i, _ := parent.child(n.label[0])
			parent.children = slices.Delete(parent.children, i, i+1)
		case 1: // two runs are one
			only := n.children[0]
			n.label, n.children, n.value = n.label+only.label, only.children, only.value
			return
		default:
			return
		}
		n = parent
	}
}

// walk gathers the values of keys that match a pattern, in the order of keys, a portion at a time.
type walk struct {
	pattern  string
	noDollar bool
	found    []*value
	most     int // of found
	visits   int // nodes that may still be looked at
	path     []byte
}

// advance consumes one byte of a key: at is where in the pattern it stands, and what it returns where it stands then.
func (w *walk) advance(at int, b byte) (int, bool) {
	switch {
	case at == len(w.pattern):
		return at, false
	case w.pattern[at] == '#':
		return at, true
	case w.pattern[at] != '*':
		return at + 1, w.pattern[at] == b
	case b != '.':
		return at, true
	}
	at++ // the word is over
	return at + 1, at < len(w.pattern)
}

// matches reports whether a key may end where the pattern stands: the parent of what # stands for matches, too.
func (w *walk) matches(at int) bool {
	switch w.pattern[at:] {
	case "", "*", "#", ".#", "*.#":
		return true
	}
	return false
}

// below gathers from n, whose label is consumed, and from what is below it. With resume the path of n is the beginning of
// the key that was last, and after the rest of it: only what comes behind that is gathered. It answers false when it stops
// before the end: then path is the key that is last now.
func (w *walk) below(n *node, at int, after string, resume bool) bool {
	if !resume { // else it has been looked at
		if n.value != nil && !n.value.cleared && w.matches(at) {
			w.found = append(w.found, n.value)
		}
		if w.visits--; len(w.found) == w.most || w.visits <= 0 {
			return false
		}
	}
	for _, child := range n.children {
		rest, inside := "", false
		if resume && after != "" {
			shared := common(child.label, after)
			switch {
			case shared == len(child.label):
				rest, inside = after[shared:], true
			case shared < len(after) && child.label[shared] < after[shared]:
				continue
			}
		}
		next, ok := at, !(w.noDollar && len(w.path) == 0 && child.label[0] == '$')
		for i := 0; ok && i < len(child.label); i++ {
			next, ok = w.advance(next, child.label[i])
		}
		if !ok {
			continue
		}
		w.path = append(w.path, child.label...)
		if !w.below(child, next, rest, inside) {
			return false
		}
		w.path = w.path[:len(w.path)-len(child.label)]
	}
	return true
}
