package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// found is a recovery that remembers what it is told.
type found struct {
	order    []uint64
	messages map[uint64]queue.Pos
	queues   map[uint64][]uint32
	info     map[uint64]queue.Info
	rows     map[string]string
	kept     map[string]queue.Pos
}

func newFound() *found {
	return &found{messages: map[uint64]queue.Pos{}, queues: map[uint64][]uint32{}, info: map[uint64]queue.Info{},
		rows: map[string]string{}, kept: map[string]queue.Pos{}}
}

func rowName(table queue.Table, key string) string { return fmt.Sprintf("%d/%s", table, key) }

func (f *found) Row(r queue.Row, at queue.Pos) error {
	if len(f.order) > 0 {
		return errors.New("a row came after a message")
	}
	f.rows[rowName(r.Table, r.Key)] = string(r.Value)
	if r.Message {
		f.kept[rowName(r.Table, r.Key)] = at
	}
	return nil
}

func (f *found) Message(at queue.Pos, info queue.Info, queues []uint32) error {
	if n := len(f.order); n > 0 && f.order[n-1] >= at.Seq {
		return errors.New("messages are not in order")
	}
	f.order = append(f.order, at.Seq)
	f.messages[at.Seq], f.info[at.Seq], f.queues[at.Seq] = at, info, slices.Clone(queues)
	return nil
}

// testOptions are small enough for a test to see segments roll, die and be copied.
func testOptions(t testing.TB) Options {
	return Options{SegmentSize: minSegmentSize, spacePause: 5 * time.Millisecond, Log: slog.New(slog.DiscardHandler), Fatal: func(err error) {
		t.Errorf("the log failed: %v", err)
	}}
}

func open(t testing.TB, fs vfs.FS, o Options) (*Log, *found) {
	t.Helper()
	f := newFound()
	l, err := Open(fs, "log", o, f)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return l, f
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func body(text string) *message.Message {
	return &message.Message{Exchange: "amq.topic", Key: "a.b", Head: message.AppendString(nil, message.ContentType, "text/plain"),
		Body: []byte(text), Time: 7, Expires: 9, Priority: 4, Guarantee: message.AtLeastOnce}
}

func appendTo(t testing.TB, l *Log, text string, queues []uint32, rows ...queue.Row) queue.Pos {
	t.Helper()
	p, _, err := l.Append(body(text), queues, rows...)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return p
}

func wait(t testing.TB, r confirm.Receipt) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.Wait(ctx); err != nil {
		t.Fatalf("receipt: %v", err)
	}
}

func ack(t testing.TB, l *Log, queueID uint32, ps ...queue.Pos) confirm.Receipt {
	t.Helper()
	r, err := l.Ack(queueID, ps)
	if err != nil {
		t.Fatalf("ack: %v", err)
	}
	return r
}

func checkBody(t testing.TB, l *Log, p queue.Pos, text string) {
	t.Helper()
	m, err := l.Read(p)
	if err != nil {
		t.Fatalf("read %+v: %v", p, err)
	}
	want := body(text)
	if m.Exchange != want.Exchange || m.Key != want.Key || !bytes.Equal(m.Head, want.Head) || string(m.Body) != text ||
		m.Time != want.Time || m.Expires != want.Expires || m.Priority != want.Priority || m.Guarantee != want.Guarantee {
		t.Fatalf("read %+v = %+v, want %+v", p, m, want)
	}
}

// eventually polls until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen in time", what)
		}
	}
}

// answers is a sink that remembers its calls.
type answers struct {
	mu    sync.Mutex
	calls [][2]uint64
	errs  []error
}

func (a *answers) Confirmed(first, last uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, [2]uint64{first, last})
	a.errs = append(a.errs, err)
}

// good is how many were told that they are safe.
func (a *answers) good() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for i, c := range a.calls {
		if a.errs[i] == nil {
			n += int(c[1] - c[0] + 1)
		}
	}
	return n
}

func (a *answers) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, c := range a.calls {
		n += int(c[1] - c[0] + 1)
	}
	return n
}

func TestEverythingLivingComesBack(t *testing.T) {
	for _, kind := range []struct {
		name string
		stop func(t *testing.T, m *vfs.Memory, l *Log) *vfs.Memory
	}{
		{"after Close", func(t *testing.T, m *vfs.Memory, l *Log) *vfs.Memory { closeLog(t, l); return m }},
		{"after a crash", func(_ *testing.T, m *vfs.Memory, l *Log) *vfs.Memory {
			back := m.Crash(1)
			_ = l.Close()
			return back
		}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			m := vfs.NewMemory()
			o := testOptions(t)
			o.Fatal = func(error) {}
			l, _ := open(t, m, o)
			first := appendTo(t, l, "one", []uint32{1})
			both := appendTo(t, l, "two", []uint32{1, 2})
			gone := appendTo(t, l, "three", []uint32{2})
			kept := appendTo(t, l, "four", nil, queue.Row{Table: queue.TableRetained, Key: "k", Value: []byte("v"), Message: true})
			appendTo(t, l, "five", []uint32{3}, queue.Row{Table: queue.TableReply, Key: "gone", Value: []byte("x")},
				queue.Row{Table: queue.TableReply, Key: "stays", Value: []byte{}})
			ack(t, l, 1, both)
			_, r, err := l.AppendTx(&queue.Tx{
				Acks: []queue.Refs{{Queue: 2, Pos: []queue.Pos{gone}}},
				Rows: []queue.Row{{Table: queue.TableReply, Key: "gone"}, {Table: queue.TableTopology, Key: "q", Value: []byte("def")}},
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			wait(t, r)

			m = kind.stop(t, m, l)
			l, f := open(t, m, testOptions(t))
			defer closeLog(t, l)
			if want := []uint64{1, 2, 5}; !slices.Equal(f.order, want) {
				t.Fatalf("messages %v, want %v", f.order, want)
			}
			if !slices.Equal(f.queues[2], []uint32{2}) || !slices.Equal(f.queues[1], []uint32{1}) {
				t.Errorf("queues %v", f.queues)
			}
			want := map[string]string{"3/k": "v", "4/stays": "", "1/q": "def"}
			if !maps.Equal(f.rows, want) {
				t.Errorf("rows %v, want %v", f.rows, want)
			}
			if info, want := f.info[1], (queue.Info{Time: 7, Expires: 9, Size: 3, Priority: 4}); info != want {
				t.Errorf("info %+v, want %+v", info, want)
			}
			if f.kept["3/k"] != kept {
				t.Errorf("retained at %+v, want %+v", f.kept["3/k"], kept)
			}
			checkBody(t, l, first, "one")
			checkBody(t, l, both, "two")
			checkBody(t, l, kept, "four")
			if next := appendTo(t, l, "six", []uint32{1}); next.Seq != 6 {
				t.Errorf("next sequence number %d, want 6", next.Seq)
			}
		})
	}
}

// newLogWith is a log that was written to and closed.
func newLogWith(t testing.TB, write func(l *Log)) *vfs.Memory {
	t.Helper()
	m := vfs.NewMemory()
	l, _ := open(t, m, testOptions(t))
	write(l)
	closeLog(t, l)
	return m
}
