package retained

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

// watched calls a function before each record.
type watched struct {
	*queuetest.Log
	before func(m *message.Message)
}

func (l *watched) Append(m *message.Message, queues []uint32, rows ...queue.Row) (queue.Pos, confirm.Receipt, error) {
	l.before(m)
	return l.Log.Append(m, queues, rows...)
}

// TestSubscriberGetsAValueThatIsWrittenAgainMeanwhile: it was published before the subscription, which therefore does not
// have it, and nobody has replaced it.
func TestSubscriberGetsAValueThatIsWrittenAgainMeanwhile(t *testing.T) {
	for _, begun := range []bool{false, true} {
		log := &watched{Log: queuetest.NewLog()}
		s := New("/", log, nil)
		keep(t, s, log.Log, &message.Message{Key: "a", Body: []byte("a")})
		keep(t, s, log.Log, &message.Message{Key: "b", Body: []byte("old"), Expires: 1})
		var late *Cursor
		log.before = func(m *message.Message) {
			if len(m.Body) == 0 { // while the expired one is removed another is published
				keep(t, s, log.Log, &message.Message{Key: "b", Body: []byte("new")})
				return
			}
			late = s.Open("#", false) // while that one is written again somebody subscribes
			if begun {
				if m, ok, err := late.Next(); !ok || err != nil || m.Key != "a" {
					t.Fatal(m, ok, err)
				}
			}
		}
		keys(t, s, "#", false)
		if late == nil {
			t.Fatal("nothing was written again")
		}
		var got []string
		for {
			m, ok, err := late.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			got = append(got, m.Key+" "+string(m.Body))
		}
		if want := []string{"a a", "b new"}; !slices.Equal(got, want[len(want)-len(got):]) || len(got) == 0 || !begun && len(got) != 2 {
			t.Errorf("begun %v: got %q", begun, got)
		}
	}
}

// TestLastPublisherWinsOverWhatIsWrittenAgain: while a value is written again somebody replaces or removes it, and the store is
// told before or after.
func TestLastPublisherWinsOverWhatIsWrittenAgain(t *testing.T) {
	for _, body := range []string{"newest", ""} {
		for _, tellLater := range []bool{false, true} {
			log := &watched{Log: queuetest.NewLog()}
			s := New("/", log, nil)
			keep(t, s, log.Log, &message.Message{Key: "a", Body: []byte("old"), Expires: 1})
			newest := &message.Message{Key: "a", Body: []byte(body)}
			var at queue.Pos
			log.before = func(m *message.Message) {
				if len(m.Body) == 0 {
					keep(t, s, log.Log, &message.Message{Key: "a", Body: []byte("new")})
					log.before = func(*message.Message) {
						log.before = func(*message.Message) {}
						var err error
						if at, _, err = log.Log.Append(newest, nil, s.Row(newest)); err != nil {
							t.Fatal(err)
						}
						if !tellLater {
							s.Keep(newest, at)
						}
					}
				}
			}
			keys(t, s, "#", false)
			if tellLater {
				s.Keep(newest, at)
			}
			after := New("/", log, nil) // as after a restart
			if err := log.Replay(rowsTo{after}); err != nil {
				t.Fatal(err)
			}
			for _, s := range []*Store{s, after} {
				got := ""
				if m, ok, err := s.Open("#", false).Next(); err != nil {
					t.Fatal(err)
				} else if ok {
					got = string(m.Body)
				}
				if got != body {
					t.Errorf("told later %v, restarted %v: the last value is %q, want %q", tellLater, s == after, got, body)
				}
			}
		}
	}
}

// rowsTo restores a store.
type rowsTo struct{ *Store }

func (r rowsTo) Row(row queue.Row, at queue.Pos) error {
	r.Restore(row.Key, at)
	return nil
}

func (rowsTo) Message(queue.Pos, queue.Info, []uint32) error { return nil }

// TestCursorsMeetWhatStaysWhileOthersComeAndGo: between the portions keys of any bytes are added, replaced and removed, and
// nodes are cut and joined under the cursor.
func TestCursorsMeetWhatStaysWhileOthersComeAndGo(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const alphabet = "ab./$*+#\x00\x01\xfe\xff"
	anyKey := func() string {
		if random.IntN(2) == 0 {
			return strings.Repeat([]string{"a", ".", "a.", "\xff"}[random.IntN(4)], random.IntN(6))
		}
		var b strings.Builder
		for range random.IntN(7) {
			b.WriteByte(alphabet[random.IntN(len(alphabet))])
		}
		return b.String()
	}
	anyPattern := func() string {
		list := strings.Split(anyKey(), ".")
		for i, word := range list {
			if strings.ContainsAny(word, "*#") || random.IntN(3) == 0 {
				list[i] = "*"
			}
		}
		if random.IntN(2) == 0 {
			list = append(list, "#")
		}
		return strings.Join(list, ".")
	}
	for round := range 2000 {
		s := New("/", nil, nil)
		seq, there := uint64(0), map[string]*value{}
		set := func(key string, cleared bool) {
			seq++
			v := &value{key: key, at: queue.Pos{Seq: seq}, cleared: cleared}
			s.set(v)
			if there[key] = v; cleared {
				delete(there, key)
				if random.IntN(2) == 0 { // else it stays as a grave
					s.root.remove(key, v)
				}
			}
		}
		for range random.IntN(80) {
			set(anyKey(), false)
		}
		pattern, noDollar := anyPattern(), random.IntN(2) == 0
		stays, fit := maps.Clone(there), map[string]bool{}
		w := walk{pattern: pattern, noDollar: noDollar, most: 1 + random.IntN(3)}
		var got []string
		for last, begun, finished := "", false, false; !finished; last, begun = string(w.path), true {
			w.found, w.path, w.visits = nil, w.path[:0], 1+random.IntN(4)
			finished = w.below(&s.root, 0, last, begun)
			for _, v := range w.found {
				got = append(got, v.key)
			}
			if begun && string(w.path) <= last && !finished {
				t.Fatalf("round %d: went from %q to %q", round, last, w.path)
			}
			for range random.IntN(4) {
				key := anyKey()
				if len(there) > 0 && random.IntN(2) == 0 {
					key = slices.Sorted(maps.Keys(there))[random.IntN(len(there))]
				}
				delete(stays, key)
				set(key, random.IntN(2) == 0)
			}
		}
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Fatalf("round %d: %q is not in order, or twice", round, got)
		}
		for _, key := range got {
			fit[key] = true
			if !fits(strings.Split(pattern, "."), strings.Split(key, ".")) || noDollar && strings.HasPrefix(key, "$") {
				t.Fatalf("round %d: %q matches %q", round, pattern, key)
			}
		}
		for key := range stays {
			if fits(strings.Split(pattern, "."), strings.Split(key, ".")) && !(noDollar && strings.HasPrefix(key, "$")) && !fit[key] {
				t.Fatalf("round %d: %q was there all the time and %q did not meet it: %q", round, key, pattern, got)
			}
		}
		for key, v := range there {
			if n := s.root.get(key); n == nil || n.value != v {
				t.Fatalf("round %d: %q is lost", round, key)
			}
		}
		for key, v := range there { // and the tree ends as it began
			s.root.remove(key, v)
		}
		for _, v := range s.graves {
			s.root.remove(v.key, v)
		}
		if n := s.root.count(); n != 1 {
			t.Fatalf("round %d: %d nodes for nothing", round, n)
		}
	}
}
