package broker_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tridge/core/broker"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/wal"
	"tridge/internal/vfs"
)

// openWithoutMemory opens a broker that keeps neither bodies nor positions that can leave.
func openWithoutMemory(t *testing.T, dir string) (*broker.Broker, *broker.VHost) {
	t.Helper()
	b, err := broker.Open(broker.Config{Dir: dir, Slog: slog.New(slog.DiscardHandler), BodyMemory: -1, PositionMemory: -1})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := b.VHost(broker.DefaultVHost)
	return b, v
}

// TestPositionsLeaveMemoryAndComeBack goes through the real log and the real file, and through restarts: one with what
// the last run has left in the file, one with less.
func TestPositionsLeaveMemoryAndComeBack(t *testing.T) {
	dir := t.TempDir()
	b, v := openWithoutMemory(t, dir)
	want := map[string][]string{"a": nil, "b": nil}
	for name := range want {
		declare(t, v, router.QueueSpec{Name: name, Durable: true})
	}
	p := v.Router.NewPublisher(1)
	for i := range 3000 {
		name := []string{"a", "a", "b"}[i%3]
		if _, _, err := p.Publish(&message.Message{Key: name, Body: []byte(fmt.Sprint(i)), Guarantee: message.AtLeastOnce}); err != nil {
			t.Fatal(err)
		}
		want[name] = append(want[name], fmt.Sprint(i))
	}
	for deadline := time.Now().Add(30 * time.Second); b.PositionStats().Waiting > 0 || b.PositionStats().Written == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not written: %+v", b.PositionStats())
		}
	}
	closing(t, b)
	if _, err := os.Stat(filepath.Join(dir, "positions")); err == nil {
		t.Error("the scratch file is left after the end")
	}
	// As a killed process leaves it: of no meaning to the next one.
	if err := os.WriteFile(filepath.Join(dir, "positions"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		b, v = openWithoutMemory(t, dir)
		if got := drain(t, v, name); !slices.Equal(got, want[name]) {
			t.Fatalf("%d messages of %q, want %d", len(got), name, len(want[name]))
		}
		closing(t, b)
	}
}

// nothing is a recovery that does not listen.
type nothing struct{}

func (nothing) Row(queue.Row, queue.Pos) error { return nil }

func (nothing) Message(queue.Pos, queue.Info, []uint32) error { return nil }

func TestMessagesOfQueuesThatAreNoMoreEnd(t *testing.T) {
	dir := t.TempDir()
	b, _ := open(t, dir)
	closing(t, b)
	log, err := wal.Open(vfs.OS{}, filepath.Join(dir, "log"), wal.Options{}, nothing{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20_000 { // more than one portion
		if _, _, err := log.Append(&message.Message{Body: []byte("m"), Guarantee: message.AtLeastOnce}, []uint32{uint32(7 + i%2)}); err != nil {
			t.Fatal(err)
		}
	}
	living := log.Stats().LivingBytes
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	b, _ = openWithoutMemory(t, dir)
	if got := b.LogStats().LivingBytes; got > living/100 {
		t.Errorf("%d of %d bytes still live", got, living)
	}
	closing(t, b)
}
