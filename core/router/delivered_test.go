package router_test

import (
	"testing"

	"tridge/core/queue"
	"tridge/core/router"
)

func TestDeletedQueueLeavesNoMarkOfWhatItDelivered(t *testing.T) {
	h := newHouse(t)
	h.queue(router.QueueSpec{Name: "q", Durable: true})
	h.queue(router.QueueSpec{Name: "untouched", Durable: true})
	h.publish(text("", "q", "m"))
	h.drain("q")
	if rows := h.log.Rows(queue.TableDelivered); len(rows) != 1 {
		t.Fatalf("rows %v", rows)
	}
	before := h.log.Records()
	for _, name := range []string{"q", "untouched"} {
		if _, _, err := h.DeleteQueue(name, 0, queue.Condition{}, router.Client); err != nil {
			t.Fatal(err)
		}
	}
	if rows := h.log.Rows(queue.TableDelivered); len(rows) != 0 || h.log.Records() != before+2 {
		t.Errorf("rows %v, %d records for two queues", rows, h.log.Records()-before)
	}
}
