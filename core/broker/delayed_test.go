package broker_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tridge/core/broker"
	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/router"
	"tridge/core/wal"
	"tridge/internal/vfs"
)

// onDisk opens a broker on a disk in memory; a log that fails leaves the test running.
func onDisk(fs vfs.FS) (*broker.Broker, *broker.VHost, error) {
	b, err := broker.Open(broker.Config{Dir: "data", FS: fs, Slog: slog.New(slog.DiscardHandler), Log: wal.Options{
		SegmentSize: 1 << 16, Fatal: func(error) {},
	}})
	if err != nil {
		return nil, nil, err
	}
	v, _ := b.VHost(broker.DefaultVHost)
	return b, v, nil
}

// marks remember which tickets are safe.
type marks struct {
	mu   sync.Mutex
	safe map[uint64]bool
}

func (m *marks) Confirmed(first, last uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; err == nil && first <= last; first++ {
		m.safe[first] = true
	}
}

// TestDelayedMessagesSurvivePowerLossOnce cuts the power at each operation on the disk in turn, while delayed messages
// come, become due and are released. Every confirmed one is in its queue exactly once when all are due, and no other twice.
func TestDelayedMessagesSurvivePowerLossOnce(t *testing.T) {
	const messages = 30
	for n := int64(1); ; n++ {
		m := vfs.NewMemory()
		var count atomic.Int64
		b, v, err := onDisk(vfs.Inject(m, func(op vfs.Op) error {
			if !op.Changes() || count.Add(1) < n {
				return nil
			}
			m.PowerOff()
			return vfs.ErrCrashed
		}))
		safe := &marks{safe: map[uint64]bool{}}
		ended := false
		if err == nil {
			ended = delayedLife(t, v, safe, messages)
			_ = b.Close()
		} else if !errors.Is(err, vfs.ErrCrashed) {
			t.Fatalf("operation %d: %v", n, err)
		}
		again := m.Crash(uint64(n))
		b, v, err = onDisk(again)
		if err != nil {
			t.Fatalf("operation %d: %v", n, err)
		}
		_, list := v.Router.Delayed()
		for list.Len() > 0 {
			time.Sleep(time.Millisecond)
		}
		closing(t, b) // what was just taken from the list is in its queue now
		b, v, err = onDisk(again)
		if err != nil {
			t.Fatalf("operation %d: %v", n, err)
		}
		times := map[string]int{}
		if _, err := v.Router.Queue("q", 0); err == nil {
			for _, body := range drain(t, v, "q") {
				times[body]++
			}
		}
		closing(t, b)
		for i := range uint64(messages) {
			switch got := times[fmt.Sprint(i)]; {
			case got > 1:
				t.Errorf("operation %d: message %d came %d times", n, i, got)
			case got == 0 && safe.safe[i]:
				t.Errorf("operation %d: message %d was confirmed and is lost", n, i)
			}
		}
		if ended || t.Failed() {
			if n < 20 {
				t.Errorf("only %d operations were interrupted", n)
			}
			return
		}
	}
}

// delayedLife publishes and waits until all are released or the log fails. It reports whether all are.
func delayedLife(t *testing.T, v *broker.VHost, safe *marks, messages int) bool {
	if _, _, err := v.Router.DeclareQueue(router.QueueSpec{Name: "q", Durable: true}, 0); err != nil {
		return false
	}
	p := v.Router.NewPublisher(1)
	for i := range messages {
		m := &message.Message{Key: "q", Body: fmt.Append(nil, i), Guarantee: message.AtLeastOnce, Time: time.Now().UnixMilli()}
		_, receipt, err := p.PublishAfter(1+rand.Int64N(4), m)
		if err != nil {
			return false
		}
		receipt.Redeem(confirm.Ticket{To: safe, Seq: uint64(i)})
		if i%3 == 0 { // a batch of their own
			_ = receipt.Wait(t.Context())
		}
	}
	q, err := v.Router.Queue("q", 0)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if q.Stats().Ready == messages {
			return true
		}
		if _, _, err := p.PublishAfter(1, &message.Message{Key: "nobody", Guarantee: message.AtLeastOnce}); err != nil {
			return false // the log has failed
		}
	}
	t.Error("they are not released in half a minute")
	return true
}
