package integration

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3"
	amqp "github.com/rabbitmq/amqp091-go"
)

// TestCrashLeavesNoTransactionByHalves has STOMP workers move messages from one queue to two others, some of them three
// at once, kills the gateway round by round while COMMITs wait for their RECEIPTs, and looks after each round for a
// move that happened in part, or was confirmed and is undone.
func TestCrashLeavesNoTransactionByHalves(t *testing.T) {
	const workers, messages = 3, 1500
	g := start(t)
	a := newAMQP(t, g)
	for _, queue := range []string{"tx.in", "tx.left", "tx.right"} {
		a.declare(t, queue)
	}
	var all []string
	fill := func() {
		for len(all)%messages != 0 || len(all) == 0 {
			all = append(all, fmt.Sprint(len(all)))
			if err := a.channel.Publish("", "tx.in", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(all[len(all)-1])}); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill()
	moved := map[string]bool{} // found to be moved
	for round := range rounds(t) {
		var confirmed atomic.Int64
		var all3 sync.WaitGroup
		for range workers {
			c, err := dialSTOMP(g, stomp12, patience)
			if err != nil {
				t.Fatal(err)
			}
			subscription, err := c.connection.Subscribe("/queue/tx.in", stomp.AckClientIndividual, stomp.SubscribeOpt.Header("prefetch-count", "10"))
			if err != nil {
				t.Fatal(err)
			}
			all3.Go(func() {
				for moveSome(c.connection, subscription, &confirmed) {
				}
			})
		}
		enough := 20 + rand.Int64N(200)
		eventually(t, "some moves", func() bool { return confirmed.Load() > enough })
		kill(t, g)
		all3.Wait()

		g = restart(t, g)
		a = newAMQP(t, g)
		left, right := everything(t, g.AMQP(), "tx.left"), everything(t, g.AMQP(), "tx.right")
		slices.Sort(left)
		slices.Sort(right)
		if !slices.Equal(left, right) {
			t.Fatalf("round %d: left has %d messages and right %d", round, len(left), len(right))
		}
		if int64(len(left)) < confirmed.Load() {
			t.Fatalf("round %d: %d moves are there, %d were confirmed", round, len(left), confirmed.Load())
		}
		for _, body := range left {
			if moved[body] {
				t.Fatalf("round %d: %s was moved twice", round, body)
			}
			moved[body] = true
		}
		in := everything(t, g.AMQP(), "tx.in")
		for _, body := range in {
			if moved[body] {
				t.Fatalf("round %d: %s was moved and is still there", round, body)
			}
		}
		if len(in)+len(moved) != len(all) {
			t.Fatalf("round %d: %d moved and %d not moved are not the %d there were", round, len(moved), len(in), len(all))
		}
		all = all[:0]
		clear(moved)
		fill()
	}
	stop(t, g)
}

// moveSome moves one to three messages in one transaction; false when the connection has ended.
func moveSome(c *stomp.Conn, from *stomp.Subscription, confirmed *atomic.Int64) bool {
	tx, err := c.BeginWithError()
	if err != nil {
		return false
	}
	n := 1 + rand.IntN(3)
	for range n {
		select {
		case m, open := <-from.C:
			if !open || m.Err != nil {
				return false
			}
			for _, to := range []string{"/queue/tx.left", "/queue/tx.right"} {
				if tx.Send(to, "", m.Body, stomp.SendOpt.Header("persistent", "true")) != nil {
					return false
				}
			}
			if tx.Ack(m) != nil {
				return false
			}
		case <-time.After(patience):
			return false
		}
	}
	if tx.CommitWithReceipt() != nil {
		return false
	}
	confirmed.Add(int64(n))
	return true
}
