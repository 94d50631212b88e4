package integration

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestTransactionsAreWholeAfterACrash moves messages from one queue to two others in transactions, kills the gateway
// in the middle, and looks for a move that happened by halves or was confirmed and is undone.
func TestTransactionsAreWholeAfterACrash(t *testing.T) {
	g := start(t)
	a := newAMQP(t, g)
	var all []string
	for _, queue := range []string{"in", "left", "right"} {
		a.declare(t, queue)
	}
	for i := range 2000 {
		all = append(all, fmt.Sprint(i))
		if err := a.channel.Publish("", "in", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(all[i])}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := amqp.Dial("amqp://guest:guest@" + g.AMQP() + "/")
	if err != nil {
		t.Fatal(err)
	}
	worker, err := b.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Tx(); err != nil {
		t.Fatal(err)
	}
	deliveries, err := worker.Consume("in", "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	var committed atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for d := range deliveries {
			for _, queue := range []string{"left", "right"} {
				if worker.Publish("", queue, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: d.Body}) != nil {
					return
				}
			}
			if d.Ack(false) != nil || worker.TxCommit() != nil {
				return
			}
			committed.Add(1)
		}
	}()
	eventually(t, "some moves", func() bool { return committed.Load() > 50 })
	kill(t, g)
	<-ended

	g = restart(t, g)
	in, left, right := everything(t, g.AMQP(), "in"), everything(t, g.AMQP(), "left"), everything(t, g.AMQP(), "right")
	if !slices.Equal(left, right) {
		t.Errorf("left has %d messages and right %d", len(left), len(right))
	}
	if got := append(slices.Clone(left), in...); !slices.Equal(got, all) {
		t.Errorf("%d moved and %d not moved are not the %d there were", len(left), len(in), len(all))
	}
	if len(left) < int(committed.Load()) {
		t.Errorf("%d moves are there, %d were confirmed", len(left), committed.Load())
	}
	stop(t, g)
}

// everything takes what a queue has.
func everything(t *testing.T, address, queue string) (bodies []string) {
	t.Helper()
	connection, err := amqp.Dial("amqp://guest:guest@" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		d, ok, err := channel.Get(queue, true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return bodies
		}
		bodies = append(bodies, string(d.Body))
	}
	t.Fatalf("%s is not empty within %v", queue, patience)
	return nil
}
