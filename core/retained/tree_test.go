package retained

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

func (n *node) count() int {
	all := 1
	for _, child := range n.children {
		all += child.count()
	}
	return all
}

// fits is the rule word by word.
func fits(pattern, key []string) bool {
	switch {
	case len(pattern) == 0:
		return len(key) == 0
	case pattern[0] == "#":
		return true
	case len(key) == 0:
		return false
	}
	return (pattern[0] == "*" || pattern[0] == key[0]) && fits(pattern[1:], key[1:])
}

func TestTreeFindsWhatASimpleSearchFinds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	word := func(wild bool) string {
		if wild && random.IntN(3) == 0 {
			return "*"
		}
		return []string{"", "a", "b", "ab", "abc", "$x"}[random.IntN(6)]
	}
	words := func(wild bool) string {
		var list []string
		for range 1 + random.IntN(4) {
			list = append(list, word(wild))
		}
		if wild && random.IntN(3) == 0 {
			list = append(list, "#")
		}
		return strings.Join(list, ".")
	}
	for range 300 {
		s := New("/", nil, nil)
		there := map[string]*value{}
		for seq := range uint64(60) {
			v := &value{key: words(false), at: queue.Pos{Seq: seq + 1}, cleared: random.IntN(3) == 0}
			s.set(v)
			there[v.key] = v
			if v.cleared {
				s.root.remove(v.key, v)
				delete(there, v.key)
			}
		}
		if n := s.root.count(); n > 2*len(there)+1 {
			t.Fatalf("%d nodes for %d keys", n, len(there))
		}
		for range 20 {
			pattern := words(true)
			noDollar := random.IntN(2) == 0
			var want, got []string
			for key := range there {
				if fits(strings.Split(pattern, "."), strings.Split(key, ".")) && !(noDollar && strings.HasPrefix(key, "$")) {
					want = append(want, key)
				}
			}
			slices.Sort(want)
			w := walk{pattern: pattern, noDollar: noDollar, most: 1 + random.IntN(5)}
			for last, begun, finished := "", false, false; !finished; last, begun = string(w.path), true {
				w.found, w.path, w.visits = nil, w.path[:0], 1+random.IntN(10)
				finished = w.below(&s.root, 0, last, begun)
				for _, v := range w.found {
					got = append(got, v.key)
				}
				if len(got) > len(want) {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%q: %q, want %q", pattern, got, want)
			}
		}
	}
}

func TestCursorKeepsAPortionOnly(t *testing.T) {
	log := queuetest.NewLog()
	s := New("/", log, nil)
	const n = 10 * pageValues
	for i := range n {
		keep(t, s, log, &message.Message{Key: fmt.Sprint("a.", i), Body: []byte("x")})
	}
	c := s.Open("#", false)
	keep(t, s, log, &message.Message{Key: "a.new", Body: []byte("x")}) // the subscription has it
	keep(t, s, log, &message.Message{Key: "a.7", Body: []byte("y")})
	keep(t, s, log, &message.Message{Key: "a.8"})
	seen := 0
	for {
		_, ok, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if seen++; cap(c.walk.found) > 2*pageValues {
			t.Fatalf("%d positions kept", cap(c.walk.found))
		}
	}
	if seen != n-2 {
		t.Errorf("%d messages, want %d", seen, n-2)
	}
}

func TestExpiredValuesAreRemovedWhenTheyAreMet(t *testing.T) {
	log := queuetest.NewLog()
	s := New("/", log, nil)
	keep(t, s, log, &message.Message{Key: "gone", Body: []byte("x"), Expires: 1})
	s.Restore("/\x00restored", restored(t, s, log))
	if got := keys(t, s, "#", false); len(got) != 0 {
		t.Errorf("found %q", got)
	}
	if s.Len() != 0 || len(log.Rows(queue.TableRetained)) != 0 || s.Unreadable() != 0 {
		t.Errorf("%d left, %d in the log, %d unreadable", s.Len(), len(log.Rows(queue.TableRetained)), s.Unreadable())
	}
}

// restored writes an expired message whose deadline the store does not know, as after a restart.
func restored(t *testing.T, s *Store, log *queuetest.Log) queue.Pos {
	t.Helper()
	m := &message.Message{Key: "restored", Body: []byte("x"), Expires: 1}
	at, _, err := log.Append(m, nil, s.Row(m))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// meddled is a log to which something else is written just before a removal.
type meddled struct {
	*queuetest.Log
	before func()
}

func (l *meddled) Append(m *message.Message, queues []uint32, rows ...queue.Row) (queue.Pos, confirm.Receipt, error) {
	if before := l.before; before != nil && len(m.Body) == 0 {
		l.before = nil
		before()
	}
	return l.Log.Append(m, queues, rows...)
}

func TestValueThatComesWhileAnExpiredOneIsRemovedStays(t *testing.T) {
	log := &meddled{Log: queuetest.NewLog()}
	s := New("/", log, nil)
	keep(t, s, log.Log, &message.Message{Key: "a", Body: []byte("old"), Expires: 1})
	log.before = func() { keep(t, s, log.Log, &message.Message{Key: "a", Body: []byte("new")}) }
	keys(t, s, "#", false)
	if got := keys(t, s, "#", false); !slices.Equal(got, []string{"a"}) || s.Len() != 1 || len(log.Rows(queue.TableRetained)) != 1 {
		t.Errorf("found %q, %d, %d in the log", got, s.Len(), len(log.Rows(queue.TableRetained)))
	}
}
