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
	s := New("/", log)
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
	s := New("/", log)
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
	s := New("/", log)
	now := time.Now().UnixMilli()
	keep(t, s, log, &message.Message{Key: "gone", Body: []byte("x"), Expires: now - 1})
	keep(t, s, log, &message.Message{Key: "here", Body: []byte("x"), Expires: now + 1_000_000})
	if got := keys(t, s, "#", false); !slices.Equal(got, []string{"here"}) {
		t.Errorf("found %q", got)
	}
}

func TestRemovedKeysLeaveNothingBehind(t *testing.T) {
	log := queuetest.NewLog()
	s := New("/", log)
	for i := range 3 * graveyard {
		key := fmt.Sprintf("device.%d.state", i)
		keep(t, s, log, &message.Message{Key: key, Body: []byte("x")})
		keep(t, s, log, &message.Message{Key: key})
	}
	if n := len(s.root.children["device"].children); n > graveyard {
		t.Errorf("%d nodes are left for no value", n)
	}
	if len(log.Rows(queue.TableRetained)) != 0 {
		t.Error("rows are left in the log")
	}
}
