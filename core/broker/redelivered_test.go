package broker_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/internal/vfs"
)

// attempts takes everything and returns each body with the number of earlier attempts, and puts it back.
func attempts(t *testing.T, q *queue.Local, n int) (list []string, s *queue.Subscription) {
	t.Helper()
	s, err := q.Subscribe(idle{}, queue.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ds := make([]queue.Delivery, n)
	got, err := s.Take(ds)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ds[:got] {
		list = append(list, fmt.Sprint(string(d.Message.Body), ":", d.Attempts))
	}
	return list, s
}

type idle struct{}

func (idle) Wake() {}

func TestMessagesThatWereOutComeBackRedelivered(t *testing.T) {
	m := vfs.NewMemory()
	b, v, err := onDisk(m)
	if err != nil {
		t.Fatal(err)
	}
	declare(t, v, router.QueueSpec{Name: "q", Durable: true})
	declare(t, v, router.QueueSpec{Name: "gone", Durable: true})
	p := v.Router.NewPublisher(1)
	send := func(key, body string) {
		t.Helper()
		_, receipt, err := p.Publish(&message.Message{Key: key, Body: []byte(body), Guarantee: message.AtLeastOnce, Time: time.Now().UnixMilli()})
		if err == nil {
			err = receipt.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		send("q", fmt.Sprint(i))
		send("gone", fmt.Sprint(i))
	}
	for _, name := range []string{"q", "gone"} {
		q, err := v.Router.Queue(name, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := attempts(t, q, 3); !slices.Equal(got, []string{"0:0", "1:0", "2:0"}) {
			t.Errorf("%s: took %q", name, got)
		}
	}
	send("q", "4") // the mark goes with it
	_, receipt, err := v.Router.DeleteQueue("gone", 0, queue.Condition{}, router.Client)
	if err == nil {
		err = receipt.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	back := m.Crash(1)
	_ = b.Close()
	for range 2 { // a mark goes on from start to start
		if b, v, err = onDisk(back); err != nil {
			t.Fatal(err)
		}
		q, err := v.Router.Queue("q", 0)
		if err != nil {
			t.Fatal(err)
		}
		got, s := attempts(t, q, 3)
		if !slices.Equal(got, []string{"0:1", "1:1", "2:1"}) {
			t.Errorf("took %q", got)
		}
		s.Close()
		closing(t, b)
	}
	if b, v, err = onDisk(back); err != nil {
		t.Fatal(err)
	}
	q, err := v.Router.Queue("q", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := attempts(t, q, 9); !slices.Equal(got, []string{"0:1", "1:1", "2:1", "3:0", "4:0"}) {
		t.Errorf("took %q", got)
	}
	if rows := b.State().Range(queue.TableDelivered); rows != nil {
		for key := range rows {
			t.Errorf("an adapter is told of row %q", key)
		}
	}
	closing(t, b)
}
