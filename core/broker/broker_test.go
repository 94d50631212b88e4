package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tridge/core/broker"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/wal"
)

func open(t testing.TB, dir string) (*broker.Broker, *broker.VHost) {
	t.Helper()
	b, err := broker.Open(broker.Config{Dir: dir, Slog: slog.New(slog.DiscardHandler), Log: wal.Options{SegmentSize: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	v, ok := b.VHost(broker.DefaultVHost)
	if !ok {
		t.Fatal("no default virtual host")
	}
	return b, v
}

// TestBodiesComeBackFromTheDisk publishes more than the budget, through the real log.
func TestBodiesComeBackFromTheDisk(t *testing.T) {
	b, err := broker.Open(broker.Config{Dir: t.TempDir(), Slog: slog.New(slog.DiscardHandler), BodyMemory: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, b)
	v, _ := b.VHost(broker.DefaultVHost)
	declare(t, v, router.QueueSpec{Name: "q", Durable: true})
	var want []string
	p := v.Router.NewPublisher(1)
	for i := range 500 { // not waited for: some are read before they are written
		want = append(want, fmt.Sprint(i))
		if _, _, err := p.Publish(&message.Message{Key: "q", Body: []byte(want[i]), Guarantee: message.AtLeastOnce}); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.BodyStats(); got.Used != 0 || got.Released != 500 {
		t.Errorf("bodies %+v", got)
	}
	if got := drain(t, v, "q"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestLawsOfAQueueSurviveARestart has a message expire after a restart without anybody asking for it, and keeps the order
// of priorities.
func TestLawsOfAQueueSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	b, v := open(t, dir)
	declare(t, v, router.QueueSpec{Name: "late", Durable: true})
	declare(t, v, router.QueueSpec{Name: "q", Durable: true, HasTTL: true, TTL: 200, DeadLetter: true, DeadLetterKey: "late"})
	declare(t, v, router.QueueSpec{Name: "ranked", Durable: true, MaxPriority: 5, HasTTL: true, TTL: 3_600_000})
	declare(t, v, router.QueueSpec{Name: "unused", Durable: true, Expires: 200})
	for i := range 3 {
		m := &message.Message{Key: "ranked", Body: []byte(fmt.Sprint(i)), Guarantee: message.AtLeastOnce, Priority: uint8(i), Time: time.Now().UnixMilli()}
		publish(t, v, m)
		renamed := *m
		renamed.Key = "q"
		publish(t, v, &renamed)
	}
	closing(t, b)
	b, v = open(t, dir)
	defer closing(t, b)
	if got, want := drain(t, v, "ranked"), []string{"2", "1", "0"}; !slices.Equal(got, want) {
		t.Errorf("took %q, want %q", got, want)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		late, err := v.Router.Queue("late", 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Router.Queue("unused", 0)
		if late.Stats().Ready == 3 && errors.Is(err, router.ErrNotFound) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, unused queue: %v", late.Stats(), err)
		}
	}
	if got, want := drain(t, v, "late"), []string{"0", "1", "2"}; !slices.Equal(got, want) {
		t.Errorf("dead letters %q, want %q", got, want)
	}
}

func closing(t testing.TB, b *broker.Broker) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func publish(t *testing.T, v *broker.VHost, m *message.Message) {
	t.Helper()
	_, receipt, err := v.Router.NewPublisher(1).Publish(m)
	if err == nil {
		err = receipt.Wait(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
}

type waker struct{}

func (waker) Wake() {}

func drain(t *testing.T, v *broker.VHost, name string) (bodies []string) {
	t.Helper()
	q, err := v.Router.Queue(name, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := q.Subscribe(waker{}, queue.SubscribeOptions{Poll: true})
	if err != nil {
		t.Fatal(err)
	}
	for {
		ds := make([]queue.Delivery, 10)
		n, err := s.Take(ds)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return bodies
		}
		for _, d := range ds[:n] {
			bodies = append(bodies, string(d.Message.Body))
		}
		receipt, err := s.Settle(ds[:n], queue.Ack)
		if err == nil {
			err = receipt.Wait(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func declare(t *testing.T, v *broker.VHost, s router.QueueSpec) {
	t.Helper()
	_, receipt, err := v.Router.DeclareQueue(s, 0)
	if err == nil {
		err = receipt.Wait(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasConfirmedIsThereAfterARestart(t *testing.T) {
	dir := t.TempDir()
	b, v := open(t, dir)
	declare(t, v, router.QueueSpec{Name: "q", Durable: true})
	declare(t, v, router.QueueSpec{Name: "memory"})
	var want []string
	for i := range 50 {
		want = append(want, fmt.Sprint(i))
		publish(t, v, &message.Message{Key: "q", Body: []byte(want[i]), Guarantee: message.AtLeastOnce})
	}
	publish(t, v, &message.Message{Key: "q", Body: []byte("transient")})
	publish(t, v, &message.Message{Exchange: router.TopicExchange, Key: "state", Body: []byte("on"), Retain: true})
	token, _ := v.Replies.Token("", "q")
	closing(t, b)

	for round := range 2 { // the second start finds what the first one left
		b, v = open(t, dir)
		m, ok, err := v.Retained.Open("#", false).Next()
		if err != nil || !ok || string(m.Body) != "on" {
			t.Fatalf("round %d: retained %v, %v, %v", round, m, ok, err)
		}
		if _, key, ok := v.Replies.Resolve(token); !ok || key != "q" {
			t.Errorf("round %d: a reply token of the last run leads to %q, %v", round, key, ok)
		}
		if _, err := v.Router.Queue("memory", 0); err == nil {
			t.Errorf("round %d: a transient queue came back", round)
		}
		if got := drain(t, v, "q"); !slices.Equal(got, want) {
			t.Fatalf("round %d: %q, want %q", round, got, want)
		}
		want = nil
		closing(t, b)
	}
}

func TestLogPinsNamesTheQueueAndItsVirtualHost(t *testing.T) {
	dir := t.TempDir()
	b, v := open(t, dir)
	declare(t, v, router.QueueSpec{Name: "stuck", Durable: true})
	declare(t, v, router.QueueSpec{Name: "fast", Durable: true})
	publish(t, v, &message.Message{Key: "fast", Body: make([]byte, 100), Guarantee: message.AtLeastOnce})
	publish(t, v, &message.Message{Key: "stuck", Body: make([]byte, 1000), Guarantee: message.AtLeastOnce})
	closing(t, b)
	b, _ = open(t, dir)
	defer closing(t, b)
	if vhost, name, bytes := b.LogPins(); vhost != broker.DefaultVHost || name != "stuck" || bytes < 1000 || bytes > 1200 {
		t.Errorf("%q in %q holds %d bytes, want stuck in %q and a little more than 1000", name, vhost, bytes, broker.DefaultVHost)
	}
}

func TestDamageThatStopsTheStartNamesTheRepair(t *testing.T) {
	dir := t.TempDir()
	b, v := open(t, dir)
	declare(t, v, router.QueueSpec{Name: "q", Durable: true})
	closing(t, b)
	path := filepath.Join(dir, "log", "00000001.log")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[20] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = broker.Open(broker.Config{Dir: dir, Slog: slog.New(slog.DiscardHandler)})
	if !errors.As(err, new(*wal.CorruptionError)) || !strings.Contains(err.Error(), "gateway log repair "+dir+" NEWDIR") {
		t.Errorf("%v, want corruption and the command that repairs", err)
	}
}

func TestDataDirectoryHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	b, _ := open(t, dir)
	if _, err := broker.Open(broker.Config{Dir: dir, Slog: slog.New(slog.DiscardHandler)}); !errors.Is(err, broker.ErrInUse) {
		t.Fatalf("second open: %v", err)
	}
	closing(t, b)
	b, _ = open(t, dir)
	closing(t, b)
}

func TestQueueNumbersAreNeverUsedAgain(t *testing.T) {
	dir := t.TempDir()
	used := map[uint32]bool{}
	for round := range 3 {
		b, v := open(t, dir)
		for i := range 5 {
			name := fmt.Sprint("q", i)
			declare(t, v, router.QueueSpec{Name: name, Durable: true})
			q, _ := v.Router.Queue(name, 0)
			if used[q.ID()] || q.ID() == 0 {
				t.Fatalf("round %d: number %d again", round, q.ID())
			}
			used[q.ID()] = true
			if _, _, err := v.Router.DeleteQueue(name, 0, queue.Condition{}, router.Client); err != nil {
				t.Fatal(err)
			}
		}
		closing(t, b)
	}
}

func TestTablesOfAdaptersAreHandedBackOnce(t *testing.T) {
	dir := t.TempDir()
	b, _ := open(t, dir)
	receipt, err := b.State().Put(
		queue.Row{Table: queue.TableMQTTSession, Key: "a", Value: []byte("1")},
		queue.Row{Table: queue.TableMQTTSession, Key: "b", Value: []byte{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := receipt.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.State().Put(queue.Row{Table: queue.TableMQTTSession, Key: "a"}); err != nil {
		t.Fatal(err)
	}
	closing(t, b)
	b, _ = open(t, dir)
	defer closing(t, b)
	for round, want := range []int{1, 0} {
		n := 0
		for key, value := range b.State().Range(queue.TableMQTTSession) {
			n++
			if key != "b" || value == nil || len(value) != 0 {
				t.Errorf("found %q = %v", key, value)
			}
		}
		if n != want {
			t.Errorf("round %d: %d rows, want %d", round, n, want)
		}
	}
}

// TestPathOfADurableMessageAllocatesWithinBudget is publish, log, queue, take, encode, acknowledge for a 1 KiB message.
// The budget is architecture's: nothing per message on the path itself; batching may cost a little per batch.
func TestPathOfADurableMessageAllocatesWithinBudget(t *testing.T) {
	b, v := open(t, t.TempDir())
	defer closing(t, b)
	declare(t, v, router.QueueSpec{Name: "q", Durable: true})
	p := newPath(t, v)
	p.run(t, 64)
	const messages = 64
	perMessage := testing.AllocsPerRun(50, func() { p.run(t, messages) }) / messages
	if perMessage > 0.25 {
		t.Errorf("%.2f allocations per message", perMessage)
	}
}

// path carries messages from a publisher to the bytes a consumer's socket would get.
type path struct {
	pub  *router.Publisher
	sub  *queue.Subscription
	m    *message.Message
	ds   []queue.Delivery
	out  []byte
	last confirmed
}

type confirmed chan struct{}

func (c confirmed) Confirmed(_, _ uint64, _ error) { c <- struct{}{} }

func newPath(t testing.TB, v *broker.VHost) *path {
	q, err := v.Router.Queue("q", 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := q.Subscribe(waker{}, queue.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	head := message.AppendString(nil, message.ContentType, "application/octet-stream")
	return &path{
		pub: v.Router.NewPublisher(1), sub: s, ds: make([]queue.Delivery, 256), last: make(confirmed, 1),
		m: &message.Message{Key: "q", Head: head, Body: make([]byte, 1024), Guarantee: message.AtLeastOnce},
	}
}

func (p *path) run(t testing.TB, n int) {
	for i := range n {
		_, receipt, err := p.pub.Publish(p.m)
		if err != nil {
			t.Fatal(err)
		}
		if i == n-1 {
			receipt.Redeem(ticket(p.last))
		}
	}
	for taken := 0; taken < n; {
		got, err := p.sub.Take(p.ds[:min(len(p.ds), n-taken)])
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			p.out = p.ds[i].Message.Append(p.out[:0])
		}
		if _, err := p.sub.Settle(p.ds[:got], queue.Ack); err != nil {
			t.Fatal(err)
		}
		taken += got
	}
	<-p.last
}
