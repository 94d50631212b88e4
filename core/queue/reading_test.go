package queue_test

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

func TestMessagesFromTheLogAreReadWhenTaken(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	put(t, q, log, "a", "b", "c")
	restarted := newQueue(t, "q", 1, log, queue.Options{})
	if err := log.Replay(restoring{restarted}); err != nil {
		t.Fatal(err)
	}
	s, _ := subscribe(t, restarted, queue.SubscribeOptions{Match: func(m *message.Message) bool { return m.Body[0] != 'a' }})
	expect(t, take(t, s, 1), "b")
	poll, _ := subscribe(t, restarted, queue.SubscribeOptions{Poll: true})
	expect(t, take(t, poll, 3), "a", "c")
}

type restoring struct{ *queue.Local }

func (r restoring) Row(queue.Row, queue.Pos) error { return nil }

func (r restoring) Message(at queue.Pos, i queue.Info, _ []uint32) error {
	r.Restore(queue.Found{At: at, Info: i})
	return nil
}

func TestFailedLogLosesNoMessage(t *testing.T) {
	log := queuetest.NewLog()
	q := newQueue(t, "q", 1, log, queue.Options{})
	q.Restore(queue.Found{At: queue.Pos{Seq: 99}})
	log.Fail(errors.New("closed"))
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	if _, err := s.Take(make([]queue.Delivery, 1)); err == nil {
		t.Fatal("no error")
	}
	if got := q.Stats(); got.Ready != 1 || got.Unacked != 0 {
		t.Errorf("stats %+v", got)
	}
}

// TestUnreadableMessagesDoNotHoldUpOthers damages messages that leave in each of the ways there are.
func TestUnreadableMessagesDoNotHoldUpOthers(t *testing.T) {
	var dead graveyard
	for _, c := range []struct {
		name   string
		o      queue.Options
		leave  func(t *testing.T, q *queue.Local, log *queuetest.Log)
		buried []string
	}{
		{"taken", queue.Options{}, func(t *testing.T, q *queue.Local, _ *queuetest.Log) {
			s, _ := subscribe(t, q, queue.SubscribeOptions{})
			expect(t, take(t, s, 1), "b")
			expect(t, take(t, s, 9), "d")
		}, nil},
		{"selected", queue.Options{}, func(t *testing.T, q *queue.Local, _ *queuetest.Log) {
			s, _ := subscribe(t, q, queue.SubscribeOptions{Match: func(*message.Message) bool { return true }})
			expect(t, take(t, s, 9), "b", "d")
		}, nil},
		{"dropped from the head", queue.Options{MaxLength: queue.AtMost(1), DeadLetter: dead.bury}, func(t *testing.T, q *queue.Local, log *queuetest.Log) {
			put(t, q, log, "e")
		}, []string{"b:maxlen", "d:maxlen"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := queuetest.NewLog()
			text := &bytes.Buffer{}
			first := newQueue(t, "q", 1, log, queue.Options{})
			put(t, first, log, "a", "b", "c", "d")
			c.o.Slog = slog.New(slog.NewTextHandler(text, nil))
			q := newQueue(t, "q", 1, log, c.o)
			if err := log.Replay(restoring{q}); err != nil {
				t.Fatal(err)
			}
			log.Damage(queue.Pos{Seq: 1})
			log.Damage(queue.Pos{Seq: 3})
			c.leave(t, q, log)
			if got := q.Stats(); got.Unreadable != 2 || log.Needs(1, queue.Pos{Seq: 1}) || log.Needs(1, queue.Pos{Seq: 3}) {
				t.Errorf("%+v", got)
			}
			if got := strings.Count(text.String(), "level=ERROR"); got != 2 {
				t.Errorf("%d errors logged:\n%s", got, text)
			}
			if got := dead.bodies(); !slices.Equal(got, c.buried) {
				t.Errorf("dead letters %q, want %q", got, c.buried)
			}
		})
	}
}
