package queue_test

import (
	"runtime"
	"testing"

	"tridge/core/queue"
)

// TestQueueKeepsNothingOfAConsumerThatHasGone consumes from a queue that stays, as 100,000 of them may.
func TestQueueKeepsNothingOfAConsumerThatHasGone(t *testing.T) {
	for _, after := range []string{"alone", "beside another"} {
		q := newQueue(t, "q", 0, nil, queue.Options{})
		if after == "beside another" {
			subscribe(t, q, queue.SubscribeOptions{})
		}
		collected := make(chan struct{})
		func() {
			s, _ := subscribe(t, q, queue.SubscribeOptions{})
			runtime.AddCleanup(s, func(ch chan struct{}) { close(ch) }, collected)
			if n, err := s.Take(make([]queue.Delivery, 1)); n != 0 || err != nil {
				t.Fatal(n, err)
			}
			s.Close()
		}()
		eventually(t, after+": the subscription is still held", func() bool {
			runtime.GC()
			select {
			case <-collected:
				return true
			default:
				return false
			}
		})
		runtime.KeepAlive(q)
	}
}
