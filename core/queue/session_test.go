package queue_test

import (
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

func TestOfflineSessionKeepsTheLatestWithinItsLimits(t *testing.T) {
	for name, limits := range map[string]queue.SessionLimits{
		"messages": {IdleLength: queue.AtMost(2)},
		"bytes":    {IdleBytes: queue.AtMost(2)},
	} {
		t.Run(name, func(t *testing.T) {
			log := queuetest.NewLog()
			q := newQueue(t, "q", 1, log, queue.Options{DropTransientWhenIdle: true, Session: limits})
			put(t, q, log, "a", "b", "c")
			s, _ := subscribe(t, q, queue.SubscribeOptions{})
			put(t, q, log, "d", "e") // somebody is there: nothing leaves, however slow
			expect(t, take(t, s, 10), "b", "c", "d", "e")
			if n := q.Stats().Dropped; n != 1 {
				t.Errorf("%d counted as dropped", n)
			}
		})
	}
}

func TestTransientMessagesAreDroppedForWhoIsBehind(t *testing.T) {
	for name, limits := range map[string]queue.SessionLimits{
		"messages": {BehindLength: queue.AtMost(2)},
		"bytes":    {BehindBytes: queue.AtMost(2)},
	} {
		t.Run(name, func(t *testing.T) {
			log := queuetest.NewLog()
			q := newQueue(t, "q", 1, log, queue.Options{DropTransientWhenIdle: true, Session: limits})
			s, _ := subscribe(t, q, queue.SubscribeOptions{})
			for _, body := range []string{"a", "b", "c"} {
				if err := q.Put(&message.Message{Body: []byte(body)}, queue.Pos{}); err != nil {
					t.Fatal(err)
				}
			}
			put(t, q, log, "d", "e")
			expect(t, take(t, s, 10), "a", "b", "d", "e")
			if n := q.Stats().Dropped; n != 1 {
				t.Errorf("%d counted as dropped", n)
			}
		})
	}
}
