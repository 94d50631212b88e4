package queue_test

import (
	"slices"
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

// TestUnreadDeliveryIsNoMemory: what a session keeps of a durable message until it is settled is its place in the log, and
// when it comes back it comes whole.
func TestUnreadDeliveryIsNoMemory(t *testing.T) {
	l := queuetest.NewLog()
	q := newQueue(t, "q", 1, l, queue.Options{})
	put(t, q, l, "durable")
	if err := q.Put(&message.Message{Body: []byte("transient")}, queue.Pos{}); err != nil {
		t.Fatal(err)
	}
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := take(t, s, 2)
	kept := []queue.Delivery{ds[0].Unread(), ds[1].Unread()}
	if kept[0].Message != nil || kept[1].Message == nil || ds[0].Message == nil {
		t.Error("what the log has is kept, or what it has not is not")
	}
	if got, want := kept[0].Size(), ds[0].Message.Size(); got < want || got > want+64 {
		t.Errorf("it is said to take %d bytes, want some %d", got, want)
	}
	settle(t, s, kept, queue.Requeue)
	if got := bodies(take(t, s, 2)); !slices.Equal(got, []string{"durable", "transient"}) {
		t.Errorf("came back as %q", got)
	}
}
