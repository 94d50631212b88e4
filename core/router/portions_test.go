package router

import (
	"fmt"
	"log/slog"
	"testing"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

// interrupted is a log that calls a function in its first Ack.
type interrupted struct {
	*queuetest.Log
	meanwhile func()
}

func (l *interrupted) Ack(id uint32, ps []queue.Pos) (confirm.Receipt, error) {
	if f := l.meanwhile; f != nil {
		l.meanwhile = nil
		f()
	}
	return l.Log.Ack(id, ps)
}

// TestManyQueuesComeUnderAPolicyInPortions looks around and changes things when the first of them have.
func TestManyQueuesComeUnderAPolicyInPortions(t *testing.T) {
	const count = 3 * ruleAtOnce
	log := &interrupted{Log: queuetest.NewLog()}
	id := uint32(0)
	r := New(Config{Name: "/", Log: log, Slog: slog.New(slog.DiscardHandler), NextID: func() (uint32, []queue.Row) { id++; return id, nil }})
	name := func(i int) string { return fmt.Sprint("q", i) }
	declare := func(i int) {
		t.Helper()
		if _, _, err := r.DeclareQueue(QueueSpec{Name: name(i), Durable: true}, 0); err != nil {
			t.Fatal(err)
		}
	}
	publisher := r.NewPublisher(0)
	for i := range count {
		declare(i)
		for range 2 {
			if _, _, err := publisher.Publish(&message.Message{Key: name(i), Guarantee: message.AtLeastOnce}); err != nil {
				t.Fatal(err)
			}
		}
	}
	set := func(limit int64) {
		t.Helper()
		p := Policy{Name: "short", Pattern: "^q", Definition: Definition{keyMaxLength: limit}}
		if _, _, err := r.SetPolicy(Users, p); err != nil {
			t.Fatal(err)
		}
	}
	ruled := func(limit int64) (n int) {
		for _, q := range r.Queues() {
			if q.Definition[keyMaxLength] == limit {
				n++
			}
		}
		return n
	}
	log.meanwhile = func() {
		if n := ruled(1); n != ruleAtOnce {
			t.Errorf("%d queues are under the policy when the first have to obey it", n)
		}
		declare(count)
		set(0) // overtakes the one under way
		if n := ruled(0); n != count+1 {
			t.Errorf("%d queues are under the policy that came last", n)
		}
	}
	set(1)
	if n := ruled(0); n != count+1 {
		t.Errorf("%d queues are under the policy that came last in the end", n)
	}
	if n := log.Living(); n != 0 {
		t.Errorf("%d messages are over the limit", n)
	}
	if n := len(r.laws); n > 3 {
		t.Errorf("%d laws for queues that are alike", n)
	}
}
