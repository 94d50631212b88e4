package queue_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/queue/queuetest"
)

// readingLog counts what has been read.
type readingLog struct {
	*queuetest.Log
	bytes int
}

func (l *readingLog) Read(p queue.Pos) (*message.Message, error) {
	m, err := l.Log.Read(p)
	if err == nil {
		l.bytes += len(m.Body)
	}
	return m, err
}

// TestDeadLettersAreReadInPortions: a consumer may have all of a durable queue unsettled, and it is no memory until then.
func TestDeadLettersAreReadInPortions(t *testing.T) {
	const n, size, most = 64, 256 << 10, 5 << 20
	for _, how := range []queue.Outcome{queue.Reject, queue.Requeue} {
		l := &readingLog{Log: queuetest.NewLog()}
		var got []string
		before, highest := 0, 0
		o := queue.Options{DeadLetter: func(ds []queue.Delivery, _ queue.Reason) (confirm.Receipt, error) {
			highest, before = max(highest, l.bytes-before), l.bytes
			for i := range ds {
				got = append(got, string(ds[i].Message.Body[:2]))
			}
			return confirm.Receipt{}, nil
		}}
		if how == queue.Requeue {
			o.MaxAttempts = queue.AtMost(0)
		}
		q := newQueue(t, "q", 1, l, o)
		var want []string
		for i := range n {
			body := append(fmt.Appendf(nil, "%02d", i), bytes.Repeat([]byte("x"), size)...)
			want = append(want, string(body[:2]))
			put(t, q, l.Log, string(body))
		}
		s, _ := subscribe(t, q, queue.SubscribeOptions{})
		ds := take(t, s, n)
		for i := range ds {
			ds[i] = ds[i].Unread()
		}
		before = l.bytes
		settle(t, s, ds, how)
		if !slices.Equal(got, want) {
			t.Errorf("%d: dead letters %q", how, got)
		}
		if highest > most {
			t.Errorf("%d: %d bytes read into memory at once", how, highest)
		}
		if slices.ContainsFunc(ds, func(d queue.Delivery) bool { return d.Message != nil }) {
			t.Errorf("%d: what has left is still in memory", how)
		}
		if got := q.Stats(); got.Unacked != 0 || got.Ready != 0 || got.DeadLettered != n {
			t.Errorf("%d: %+v", how, got)
		}
	}
}

// TestPortionThatCannotLeaveComesBackWithThoseBehindIt and the ones before it are gone for good.
func TestPortionThatCannotLeaveComesBackWithThoseBehindIt(t *testing.T) {
	const n, size = 32, 512 << 10
	l := queuetest.NewLog()
	handed := 0
	q := newQueue(t, "q", 1, l, queue.Options{DeadLetter: func(ds []queue.Delivery, _ queue.Reason) (confirm.Receipt, error) {
		if handed > 0 {
			return confirm.Receipt{}, errors.New("no")
		}
		handed = len(ds)
		return confirm.Receipt{}, nil
	}})
	for i := range n {
		put(t, q, l, string(append(fmt.Appendf(nil, "%02d", i), bytes.Repeat([]byte("x"), size)...)))
	}
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	ds := take(t, s, n)
	for i := range ds {
		ds[i] = ds[i].Unread()
	}
	if _, err := s.Settle(ds, queue.Reject); err == nil {
		t.Error("no error")
	}
	if handed == 0 || handed == n {
		t.Fatalf("%d of %d handed over at first", handed, n)
	}
	if got := q.Stats(); got.Unacked != 0 || got.Ready != n-handed || got.DeadLettered != uint64(handed) {
		t.Errorf("%d handed over: %+v", handed, got)
	}
	for i, d := range take(t, s, n) {
		if want := fmt.Sprintf("%02d", handed+i); string(d.Message.Body[:2]) != want {
			t.Errorf("came back as %q, want %q", d.Message.Body[:2], want)
		}
	}
}

// TestUnreadDeliverySaysWhatItsHeadersTake: a transaction counts what its dead letters will take once they are read.
func TestUnreadDeliverySaysWhatItsHeadersTake(t *testing.T) {
	l := queuetest.NewLog()
	q := newQueue(t, "q", 1, l, queue.Options{})
	m := durable("")
	m.Head = message.AppendString(nil, message.ContentType, string(bytes.Repeat([]byte("x"), 100<<10)))
	at, _, err := l.Append(m, []uint32{q.ID()})
	if err != nil {
		t.Fatal(err)
	}
	at.Size = uint32(m.Size()) // what a log says that is a file
	if err := q.Put(m, at); err != nil {
		t.Fatal(err)
	}
	s, _ := subscribe(t, q, queue.SubscribeOptions{})
	d := take(t, s, 1)[0].Unread()
	if got := d.Size(); got < 100<<10 {
		t.Errorf("%d bytes", got)
	}
}
