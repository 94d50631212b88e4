package queue_test

import (
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

// anything is a selective subscription that wants all.
func anything(priority int) queue.SubscribeOptions {
	return queue.SubscribeOptions{Priority: priority, Match: func(*message.Message) bool { return true }}
}

// TestSelectiveConsumerIsWokenWhenTheSoleOneGoes has it wait for messages that were another's alone.
func TestSelectiveConsumerIsWokenWhenTheSoleOneGoes(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	sole, _ := subscribe(t, q, queue.SubscribeOptions{Sole: true})
	s, w := subscribe(t, q, anything(0))
	put(t, q, log, "a")
	expect(t, take(t, s, 1))
	before := w.wakes
	sole.Close()
	if w.wakes != before+1 {
		t.Fatalf("woken %d times", w.wakes-before)
	}
	expect(t, take(t, s, 1), "a")
}

// TestSelectiveConsumerIsWokenWhenThoseBeforeItPass has it wait behind one of higher priority that has no credit left,
// or goes.
func TestSelectiveConsumerIsWokenWhenThoseBeforeItPass(t *testing.T) {
	for name, pass := range map[string]func(t *testing.T, high *queue.Subscription){
		"declines": func(t *testing.T, high *queue.Subscription) { take(t, high, 0) },
		"goes":     func(_ *testing.T, high *queue.Subscription) { high.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			log := queuetest.NewLog()
			q := newQueue(t, "q", 1, log, queue.Options{})
			high, _ := subscribe(t, q, queue.SubscribeOptions{Priority: 1})
			low, w := subscribe(t, q, anything(0))
			expect(t, take(t, high, 1))
			expect(t, take(t, low, 1))
			put(t, q, log, "a")
			expect(t, take(t, low, 1))
			before := w.wakes
			pass(t, high)
			if w.wakes != before+1 {
				t.Fatalf("woken %d times", w.wakes-before)
			}
			expect(t, take(t, low, 1), "a")
		})
	}
}
