package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"

	"tridge/core/broker"
	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/wal"
	"tridge/internal/vfs"
)

// TestTransactionIsWholeAfterACrash moves messages from one queue to two others, cuts the power at some moment, and
// looks for a move that happened by halves or that was confirmed and is undone.
func TestTransactionIsWholeAfterACrash(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			disk := vfs.NewMemory()
			b, v := onMemory(t, disk)
			for _, name := range []string{"in", "left", "right"} {
				declare(t, v, router.QueueSpec{Name: name, Durable: true})
			}
			var all []string
			for i := range 20 {
				all = append(all, fmt.Sprint(i))
				publish(t, v, &message.Message{Key: "in", Body: []byte(all[i]), Guarantee: message.AtLeastOnce})
			}
			safe := move(t, v, random)
			crashed := disk.Crash(seed)
			_ = b.Close()

			b, v = onMemory(t, crashed)
			defer closing(t, b)
			in, left, right := drain(t, v, "in"), drain(t, v, "left"), drain(t, v, "right")
			if !slices.Equal(left, right) {
				t.Errorf("left has %q, right %q", left, right)
			}
			if got := append(slices.Clone(left), in...); !slices.Equal(got, all) {
				t.Errorf("moved %q, not moved %q", left, in)
			}
			if len(left) < safe {
				t.Errorf("%d moves are there, %d were confirmed", len(left), safe)
			}
		})
	}
}

func onMemory(t *testing.T, disk vfs.FS) (*broker.Broker, *broker.VHost) {
	t.Helper()
	b, err := broker.Open(broker.Config{Dir: "data", FS: disk, Slog: slog.New(slog.DiscardHandler), Log: wal.Options{SegmentSize: 16 << 10, Fatal: func(error) {}}})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := b.VHost(broker.DefaultVHost)
	return b, v
}

// move moves some messages from in to left and right, each in a transaction, and returns how many it has waited for.
func move(t *testing.T, v *broker.VHost, random *rand.Rand) (safe int) {
	t.Helper()
	q, err := v.Router.Queue("in", 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := q.Subscribe(waker{}, queue.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := v.Router.NewPublisher(1)
	waits := random.IntN(20)
	var receipt confirm.Receipt
	for i := range waits + random.IntN(20-waits) {
		ds := make([]queue.Delivery, 1)
		if n, err := s.Take(ds); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		copied := func(key string) *message.Message {
			return &message.Message{Key: key, Body: ds[0].Message.Body, Guarantee: message.AtLeastOnce}
		}
		receipt, err = p.Commit(&router.Transaction{
			Messages: []*message.Message{copied("left"), copied("right")},
			Ends:     []router.End{{Subscription: s, Deliveries: ds, How: queue.Ack}},
		}, func(int, router.Result) {})
		if err != nil {
			t.Fatal(err)
		}
		if i < waits {
			if err := receipt.Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
			safe++
		}
	}
	return safe
}
