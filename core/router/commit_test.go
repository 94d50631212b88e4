package router_test

import (
	"testing"
	"testing/synctest"
	"time"

	"tridge/core/message"
	"tridge/core/router"
)

func TestBlindCopiesOutliveADelay(t *testing.T) {
	for _, tx := range []bool{false, true} {
		ticking(t, func(h *house, _ func() *house) {
			h.exchange(router.ExchangeSpec{Name: "x", Kind: router.Direct, Delayed: true, Durable: true})
			h.queue(router.QueueSpec{Name: "a", Durable: true})
			h.queue(router.QueueSpec{Name: "b", Durable: true})
			h.bind(router.Binding{Source: "x", Destination: "a", Key: "a"})
			h.bind(router.Binding{Source: "x", Destination: "b", Key: "b"})
			m := text("x", "a", "m")
			m.Time = time.Now().UnixMilli()
			m.Head = message.AppendHeaders(m.Head, message.AppendField(message.Headers(nil), router.DelayHeader, message.IntValue(1000)))
			if tx {
				_, err := h.pub.Commit(&router.Transaction{Messages: []*message.Message{m}, Also: map[int][]string{0: {"b"}}}, func(int, router.Result) {})
				if err != nil {
					t.Fatal(err)
				}
			} else if _, _, err := h.pub.PublishAlso(m, []string{"b"}); err != nil { // BCC: not in the headers
				t.Fatal(err)
			}
			synctest.Wait()
			wait(2 * time.Second)
			if a, b := len(h.drain("a")), len(h.drain("b")); a != 1 || b != 1 {
				t.Errorf("tx %v: %d on a, %d on b", tx, a, b)
			}
		})
	}
}
