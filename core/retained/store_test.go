package retained

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

func keep(t *testing.T, s *Store, log *queuetest.Log, m *message.Message) {
	t.Helper()
	at, _, err := log.Append(m, nil, s.Row(m))
	if err != nil {
		t.Fatal(err)
	}
	s.Keep(m, at)
}

func keys(t *testing.T, s *Store, pattern string, noDollar bool) []string {
	t.Helper()
	var found []string
	c := s.Open(pattern, noDollar)
	for {
		m, ok, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			slices.Sort(found)
			return found
		}
		found = append(found, m.Key)
	}
}

func TestPatternsFindTheirKeys(t *testing.T) {
	log := queuetest.NewLog()
	s := New("/", log, nil)
	for _, key := range []string{"a", "a.b", "a.b.c", "a.c", "b", "$SYS.x", "a..b"} {
		keep(t, s, log, &message.Message{Key: key, Body: []byte(key)})
	}
	for _, c := range []struct {
		pattern  string
		noDollar bool
		want     []string
	}{
		{"a", false, []string{"a"}},
		{"a.#", false, []string{"a", "a..b", "a.b", "a.b.c", "a.c"}},
		{"#", true, []string{"a", "a..b", "a.b", "a.b.c", "a.c", "b"}},
		{"#", false, []string{"$SYS.x", "a", "a..b", "a.b", "a.b.c", "a.c", "b"}},
		{"*", true, []string{"a", "b"}},
		{"*.x", true, nil},
		{"a.*", false, []string{"a.b", "a.c"}},
		{"a.*.*", false, []string{"a..b", "a.b.c"}},
		{"a..b", false, []string{"a..b"}},
		{"*.*.#", true, []string{"a..b", "a.b", "a.b.c", "a.c"}},
		{"nothing", false, nil},
	} {
		if got := keys(t, s, c.pattern, c.noDollar); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.pattern, got, c.want)
		}
	}
}

func TestLaterValueWinsInWhateverOrderItArrives(t *testing.T) {
	log := queuetest.NewLog()
	s := New("/", log, nil)
	old, clear := &message.Message{Key: "k", Body: []byte("old")}, &message.Message{Key: "k"}
	at1, _, _ := log.Append(old, nil, s.Row(old))
	at2, _, _ := log.Append(clear, nil, s.Row(clear))
	s.Keep(clear, at2)
	s.Keep(old, at1)
	if got := keys(t, s, "#", false); got != nil {
		t.Errorf("a removed value came back: %q", got)
	}
	if s.Len() != 0 {
		t.Errorf("Len() = %d", s.Len())
	}
}

func TestExpiredValuesAreLeftOut(t *testing.T) {
	log := queuetest.NewLog()
	s := New("/", log, nil)
	now := time.Now().UnixMilli()
	keep(t, s, log, &message.Message{Key: "gone", Body: []byte("x"), Expires: now - 1})
	keep(t, s, log, &message.Message{Key: "here", Body: []byte("x"), Expires: now + 1_000_000})
	if got := keys(t, s, "#", false); !slices.Equal(got, []string{"here"}) {
		t.Errorf("found %q", got)
	}
}

func TestRemovedKeysLeaveNothingBehind(t *testing.T) {
	log := queuetest.NewLog()
	s := New("/", log, nil)
	for i := range 3 * graveyard {
		key := fmt.Sprintf("device.%d.state", i)
		keep(t, s, log, &message.Message{Key: key, Body: []byte("x")})
		keep(t, s, log, &message.Message{Key: key})
	}
	if n := s.root.count(); n > 2*graveyard+1 {
		t.Errorf("%d nodes are left for no value", n)
	}
	if len(log.Rows(queue.TableRetained)) != 0 {
		t.Error("rows are left in the log")
	}
}

// unreadable is a log some of whose messages are damaged.
type unreadable struct {
	*queuetest.Log
	damaged map[uint64]bool
}

func (l *unreadable) Read(p queue.Pos) (*message.Message, error) {
	if l.damaged[p.Seq] {
		return nil, fmt.Errorf("checksum: %w", queue.ErrUnreadable)
	}
	return l.Log.Read(p)
}

func TestDamagedMessageIsRemovedAndHoldsUpNoOther(t *testing.T) {
	log := &unreadable{Log: queuetest.NewLog(), damaged: map[uint64]bool{2: true}}
	s := New("/", log, nil)
	for _, key := range []string{"a", "b", "c"} {
		keep(t, s, log.Log, &message.Message{Key: key, Body: []byte("x"), Retain: true})
	}
	for range 2 {
		if got := keys(t, s, "#", false); !slices.Equal(got, []string{"a", "c"}) {
			t.Errorf("found %q", got)
		}
	}
	if n := s.Unreadable(); n != 1 || s.Len() != 2 || len(log.Rows(queue.TableRetained)) != 2 {
		t.Errorf("%d removed; %d left, %d in the log", n, s.Len(), len(log.Rows(queue.TableRetained)))
	}
	keep(t, s, log.Log, &message.Message{Key: "b", Body: []byte("new"), Retain: true})
	if got := keys(t, s, "#", false); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("found %q after a new value", got)
	}
}

func TestValueThatComesWhileADamagedOneIsRemovedStays(t *testing.T) {
	log := &unreadable{Log: queuetest.NewLog(), damaged: map[uint64]bool{1: true}}
	s := New("/", log, nil)
	keep(t, s, log.Log, &message.Message{Key: "a", Body: []byte("x"), Retain: true})
	m := &message.Message{Key: "a", Body: []byte("new"), Retain: true}
	at, _, err := log.Append(m, nil, s.Row(m)) // on its way: in the log, and not yet here
	if err != nil {
		t.Fatal(err)
	}
	if got := keys(t, s, "#", false); len(got) != 0 {
		t.Errorf("found %q", got)
	}
	s.Keep(m, at)
	if got := keys(t, s, "#", false); !slices.Equal(got, []string{"a"}) || len(log.Rows(queue.TableRetained)) != 1 {
		t.Errorf("found %q, %d in the log", got, len(log.Rows(queue.TableRetained)))
	}
}
