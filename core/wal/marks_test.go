package wal

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"tridge/core/message"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

type waker struct{}

func (waker) Wake() {}

// taken puts n messages of queue id 7 into the log and takes some of them.
func taken(t *testing.T, l *Log, n, take int) (q *queue.Local, all []queue.Pos) {
	t.Helper()
	q = queue.New("q", 7, l, queue.Options{})
	for range n {
		m := &message.Message{Body: []byte("m"), Guarantee: message.AtLeastOnce}
		at, receipt, err := l.Append(m, []uint32{7})
		if err == nil {
			err = receipt.Wait(t.Context())
		}
		if err == nil {
			err = q.Put(m, at)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, at)
	}
	s, err := q.Subscribe(waker{}, queue.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Take(make([]queue.Delivery, take)); err != nil || got != take {
		t.Fatalf("took %d, %v", got, err)
	}
	return q, all
}

// markOf is the row of queue 7.
func markOf(f *found) uint64 {
	row, ok := f.rows[rowName(queue.TableDelivered, string(queue.AppendMarkKey(nil, 7)))]
	if !ok {
		return 0
	}
	return binary.BigEndian.Uint64([]byte(row))
}

func TestMarkGoesWithTheNextBatchAndMakesNone(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	_, all := taken(t, l, 5, 3)
	if batches, number := l.Stats().Batches, uint64(6); batches != number { // the head of the segment, and a batch for each message
		t.Errorf("%d batches, want %d", batches, number)
	}
	_, receipt, err := l.Append(body("next"), []uint32{8})
	if err == nil {
		err = receipt.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if batches := l.Stats().Batches; batches != 7 {
		t.Errorf("%d batches, want 7", batches)
	}
	again, f := open(t, m.Crash(1), testOptions(t))
	if got := markOf(f); got != all[2].Seq {
		t.Errorf("delivered up to %d, want %d", got, all[2].Seq)
	}
	closeLog(t, again)
	_ = l.Close() // its power is gone
}

func TestMarkIsWrittenWithinASecond(t *testing.T) {
	for _, policy := range []Sync{SyncAlways, SyncInterval, SyncNever} {
		synctest.Test(t, func(t *testing.T) {
			m := vfs.NewMemory()
			o := testOptions(t)
			o.Sync = policy
			l, _ := open(t, m, o)
			_, all := taken(t, l, 2, 2)
			time.Sleep(lazySync)
			synctest.Wait()
			before := l.Stats()
			time.Sleep(time.Minute)
			synctest.Wait()
			if after := l.Stats(); after.Batches != before.Batches || after.Syncs != before.Syncs {
				t.Errorf("policy %d: the log writes by itself: %+v, then %+v", policy, before, after)
			}
			copied, err := l.Backup(t.Context(), m, "copy") // what is written, for each of the policies
			if err != nil {
				t.Fatal(err)
			}
			f, err := openBackup(m, "copy")
			if err != nil {
				t.Fatal(err)
			}
			if got := markOf(f); got != all[1].Seq {
				t.Errorf("policy %d: delivered up to %d, want %d; %+v", policy, got, all[1].Seq, copied)
			}
			closeLog(t, l)
		})
	}
}

func TestMarkIsWrittenByClose(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	_, all := taken(t, l, 2, 1)
	closeLog(t, l)
	l, f := open(t, m, testOptions(t))
	if got := markOf(f); got != all[0].Seq {
		t.Errorf("delivered up to %d, want %d", got, all[0].Seq)
	}
	closeLog(t, l)
}

func TestMarkOfAQueueThatIsGoneIsNotWritten(t *testing.T) {
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	q, all := taken(t, l, 2, 1)
	if _, err := q.Close(queue.Condition{}); err != nil {
		t.Fatal(err)
	}
	rows := q.DeliveredRows()
	if len(rows) != 1 {
		t.Fatalf("rows %v", rows)
	}
	if _, _, err := l.AppendTx(&queue.Tx{Rows: rows, Acks: []queue.Refs{{Queue: 7, Pos: all}}}, nil); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	l, f := open(t, m, testOptions(t))
	if got := markOf(f); got != 0 || len(f.order) != 0 {
		t.Errorf("delivered up to %d, messages %v", got, f.order)
	}
	closeLog(t, l)
}

// TestMoreMarksThanGoWithABatch has all of them written in the end.
func TestMoreMarksThanGoWithABatch(t *testing.T) {
	const queues = 2*marksAtOnce + 10
	m := vfs.NewMemory()
	o := testOptions(t)
	l, _ := open(t, m, o)
	for id := range uint32(queues) {
		q := queue.New("q", id+1, l, queue.Options{})
		msg := &message.Message{Body: []byte("m"), Guarantee: message.AtLeastOnce}
		at, _, err := l.Append(msg, []uint32{id + 1})
		if err == nil {
			err = q.Put(msg, at)
		}
		if err != nil {
			t.Fatal(err)
		}
		s, err := q.Subscribe(waker{}, queue.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := s.Take(make([]queue.Delivery, 1)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	closeLog(t, l)
	l, f := open(t, m, o)
	if len(f.rows) != queues {
		t.Errorf("%d rows, want %d", len(f.rows), queues)
	}
	closeLog(t, l)
}
