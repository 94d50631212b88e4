package broker_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tridge/core/broker"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/wal"
	"tridge/internal/vfs"
)

// precious is a data directory in which the declaration of a queue with 100 messages is damaged, and the index that
// repeats it, too, when index is set.
func precious(t *testing.T, index bool) string {
	t.Helper()
	dir := t.TempDir()
	b, v := open(t, dir)
	declare(t, v, router.QueueSpec{Name: "repaired.2", Durable: true}) // takes the name that the repair thinks of first
	declare(t, v, router.QueueSpec{Name: "precious", Durable: true})
	for i := range 100 {
		publish(t, v, &message.Message{Key: "precious", Body: []byte(fmt.Sprint(i)), Guarantee: message.AtLeastOnce})
	}
	closing(t, b)
	var damage []wal.Record
	if err := wal.Dump(vfs.OS{}, filepath.Join(dir, "log"), false, func(r wal.Record) error {
		if index && r.Type == "index" {
			damage = append(damage, r)
		}
		for _, row := range r.Rows {
			if strings.Contains(row.Key, "precious") {
				damage = append(damage, r)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(damage) == 0 {
		t.Fatal("the log has no declaration")
	}
	for _, r := range damage {
		name := filepath.Join(dir, "log", fmt.Sprintf("%08d.log", r.Segment))
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		data[r.Offset+r.Size-3] ^= 1
		if err := os.WriteFile(name, data, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRepairKeepsTheMessagesOfAQueueWhoseDeclarationIsLost(t *testing.T) {
	for _, index := range []bool{false, true} {
		to := t.TempDir()
		lost := 0
		adopted, err := broker.Repair(vfs.OS{}, filepath.Join(precious(t, index), "log"), to, func(wal.Lost) { lost++ })
		if err != nil || lost == 0 {
			t.Fatalf("repair: %v, %d parts lost", err, lost)
		}
		name := "precious"
		if index {
			if len(adopted) != 1 || adopted[0].Messages != 100 || !strings.HasPrefix(adopted[0].Name, "repaired.2") || adopted[0].Name == "repaired.2" {
				t.Fatalf("adopted %+v", adopted)
			}
			name = adopted[0].Name
		} else if len(adopted) != 0 {
			t.Errorf("adopted %+v, though the index has the declaration", adopted)
		}
		b, _ := open(t, to)
		closing(t, b)
		b, v := open(t, to)
		if got := drain(t, v, name); len(got) != 100 || got[0] != "0" || got[99] != "99" {
			t.Errorf("index damaged %v: queue %s has %q", index, name, got)
		}
		declare(t, v, router.QueueSpec{Name: "precious", Durable: true}) // with an id of its own
		if got := drain(t, v, "precious"); index && len(got) > 0 {
			t.Errorf("the queue declared anew has %q", got)
		}
		closing(t, b)
	}
}

func TestStartSaysHowManyMessagesOfDeletedQueuesItDrops(t *testing.T) {
	dir := t.TempDir()
	b, _ := open(t, dir)
	closing(t, b)
	l, err := wal.Open(vfs.OS{}, filepath.Join(dir, "log"), wal.Options{SegmentSize: 1 << 20}, ignoring{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, _, err := l.Append(&message.Message{Key: "k", Guarantee: message.AtLeastOnce}, []uint32{77, 78}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{2, 0} { // the second start finds nothing
		var out bytes.Buffer
		b, err := broker.Open(broker.Config{Dir: dir, Slog: slog.New(slog.NewTextHandler(&out, nil))})
		if err != nil {
			t.Fatal(err)
		}
		closing(t, b)
		told := strings.Count(out.String(), "id=77 messages=3") + strings.Count(out.String(), "id=78 messages=3")
		if told != want || strings.Count(out.String(), "level=WARN") != want {
			t.Errorf("the start says %q, want %d warnings", out.String(), want)
		}
	}
}

// ignoring is a recovery that needs to be told nothing.
type ignoring struct{}

func (ignoring) Row(queue.Row, queue.Pos) error                { return nil }
func (ignoring) Message(queue.Pos, queue.Info, []uint32) error { return nil }
