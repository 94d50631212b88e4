package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tridge/core/broker"
	"tridge/core/confirm"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/router"
	"tridge/core/wal"
	"tridge/internal/vfs"
)

// modelLaws are the queues of the model test. Their names are sorted so that dead letters go to the last one, which is
// looked into after the queues that fill it.
var modelLaws = []router.QueueSpec{
	{Name: "a-plain", Durable: true},
	{Name: "b-ranked", Durable: true, MaxPriority: 3, DeadLetter: true, DeadLetterKey: lateQueue},
	{Name: "c-short", Durable: true, MaxLength: queue.AtMost(4), DeadLetter: true, DeadLetterKey: lateQueue},
	{Name: "d-timed", Durable: true, HasTTL: true, TTL: 5000, DeadLetter: true, DeadLetterKey: lateQueue},
	{Name: lateQueue, Durable: true},
}

const (
	modelFanout = "model"
	lateQueue   = "z-late" // for dead letters
)

// machine does the same to a broker and to the naive model of it.
type machine struct {
	disk       *vfs.Memory
	broker     *broker.Broker
	vhost      *broker.VHost
	publishers []*router.Publisher
	subs       map[string]*queue.Subscription
	out        map[string][]queue.Delivery
	model      *naive
	published  int
}

// TestBrokerDoesWhatANaiveModelDoes publishes, takes, settles, purges, lets time pass, stops, and cuts the power in any
// order, and compares with the model what every queue holds: after a crash everything that was promised, in order, and
// of the rest a beginning of what was done.
//
// -rapid.checks and -rapid.steps say how much of it.
func TestBrokerDoesWhatANaiveModelDoes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) { rapid.SyncTest(r, runModel) }) // in whose bubble time passes when everybody waits
}

func runModel(r *rapid.T) {
	m := &machine{disk: vfs.NewMemory(), model: newNaive(modelLaws)}
	m.open(r)
	defer func() { _ = m.broker.Close() }() // of one that has crashed it fails
	m.declare(r)
	r.Repeat(map[string]func(*rapid.T){
		"publish": m.publish,
		"take":    m.take,
		"settle":  m.settle,
		"purge":   m.purge,
		"advance": m.advance,
		"restart": m.restart,
		"crash":   m.crash,
		"":        m.check,
	})
}

func (m *machine) open(r *rapid.T) {
	b, err := broker.Open(broker.Config{
		Dir: "data", FS: m.disk, Slog: slog.New(slog.DiscardHandler),
		Log:        wal.Options{SegmentSize: 1 << 15, Fatal: func(error) {}},
		BodyMemory: rapid.SampledFrom([]int64{-1, 4 << 10, 1 << 30}).Draw(r, "body memory"),
	})
	if err != nil {
		r.Fatalf("open: %v", err)
	}
	m.broker, m.subs, m.out, m.publishers = b, map[string]*queue.Subscription{}, map[string][]queue.Delivery{}, nil
	m.vhost, _ = b.VHost(broker.DefaultVHost)
	for i := range uint64(2) {
		m.publishers = append(m.publishers, m.vhost.Router.NewPublisher(i+1))
	}
}

func (m *machine) declare(r *rapid.T) {
	if _, err := m.vhost.Router.DeclareExchange(router.ExchangeSpec{Name: modelFanout, Kind: router.Fanout, Durable: true}); err != nil {
		r.Fatal(err)
	}
	for _, s := range modelLaws {
		if _, _, err := m.vhost.Router.DeclareQueue(s, 0); err != nil {
			r.Fatal(err)
		}
		if s.Name == lateQueue {
			continue
		}
		if _, err := m.vhost.Router.Bind(router.Binding{Source: modelFanout, Destination: s.Name}, 0); err != nil {
			r.Fatal(err)
		}
	}
	m.sync(r)
}

func clock() int64 { return time.Now().UnixMilli() }

// maybeWait waits for a receipt or leaves it to the log. The receipt promises the changes before and up to through.
func (m *machine) maybeWait(r *rapid.T, receipt confirm.Receipt, err error, before, through int) {
	if err != nil {
		r.Fatal(err)
	}
	if !rapid.Bool().Draw(r, "wait") || receipt.By == nil && through < before {
		return // the zero receipt of what changes nothing in the log says nothing
	}
	if err := receipt.Wait(context.Background()); err != nil {
		r.Fatal(err)
	}
	m.model.syncedThrough(through)
}

// sync has everything so far synced.
func (m *machine) sync(r *rapid.T) {
	receipt, err := m.broker.State().Put(queue.Row{Table: queue.TableReply, Key: "model", Value: []byte("1")})
	if err == nil {
		err = receipt.Wait(context.Background())
	}
	if err != nil {
		r.Fatal(err)
	}
	m.model.synced()
}

var bodySizes = rapid.SampledFrom([]int{0, 10, 700, 3000})

func (m *machine) publish(r *rapid.T) {
	m.published++
	w := waiting{
		body:    fmt.Sprintf("%06d", m.published) + strings.Repeat("x", bodySizes.Draw(r, "size")),
		level:   rapid.Uint8Range(0, 4).Draw(r, "priority"),
		durable: rapid.IntRange(0, 3).Draw(r, "transient") > 0,
	}
	var queues []string
	if rapid.Bool().Draw(r, "fan out") {
		for _, s := range modelLaws[:len(modelLaws)-1] {
			queues = append(queues, s.Name)
		}
	} else {
		queues = []string{m.name(r)}
	}
	// In the queue of dead letters nobody knows whether a message is the first, so none expires there.
	if queues[0] != lateQueue && rapid.IntRange(0, 2).Draw(r, "mortal") == 0 {
		w.expires = clock() + rapid.Int64Range(1, 8).Draw(r, "expires")*1000
	}
	p := &message.Message{Body: []byte(w.body), Priority: w.level, Expires: w.expires, Time: clock()}
	if w.durable {
		p.Guarantee = message.AtLeastOnce
	}
	if p.Key = queues[0]; len(queues) > 1 {
		p.Exchange = modelFanout
	}
	record := len(m.model.durable)
	_, receipt, err := m.publishers[m.published%len(m.publishers)].Publish(p)
	m.model.publish(w, queues, clock())
	through := record - 1
	if w.durable {
		through = record
	}
	m.maybeWait(r, receipt, err, record, through)
}

func (m *machine) name(r *rapid.T) string {
	return modelLaws[rapid.IntRange(0, len(modelLaws)-1).Draw(r, "queue")].Name
}

func (m *machine) subscription(r *rapid.T, name string) *queue.Subscription {
	if s := m.subs[name]; s != nil {
		return s
	}
	q, err := m.vhost.Router.Queue(name, 0)
	if err != nil {
		r.Fatal(err)
	}
	s, err := q.Subscribe(waker{}, queue.SubscribeOptions{Poll: true})
	if err != nil {
		r.Fatal(err)
	}
	m.subs[name] = s
	return s
}

// found is a delivery as the model knows it.
func found(d *queue.Delivery, s router.QueueSpec) waiting {
	w := waiting{body: string(d.Message.Body), level: min(d.Message.Priority, s.MaxPriority)}
	if v, dead := d.Message.Head.Header("x-first-death-queue"); dead {
		w.source = v.Text()
	}
	return w
}

// takeFrom takes up to most messages and compares them with those of the model.
func (m *machine) takeFrom(r *rapid.T, s router.QueueSpec, most int) []queue.Delivery {
	ds := make([]queue.Delivery, most)
	n, err := m.subscription(r, s.Name).Take(ds)
	if err != nil {
		r.Fatal(err)
	}
	ds = ds[:n]
	got := make([]waiting, n)
	for i := range ds {
		got[i] = found(&ds[i], s)
	}
	if s.Name == lateQueue {
		m.model.prefer(s.Name, got)
	}
	if want := m.model.take(s.Name, most, clock()); !slices.EqualFunc(got, want, waiting.is) {
		r.Fatalf("took %v from %s, want %v", got, s.Name, want)
	}
	return ds
}

func (m *machine) take(r *rapid.T) {
	s := m.model.laws[m.name(r)]
	m.out[s.Name] = append(m.out[s.Name], m.takeFrom(r, s, rapid.IntRange(1, 5).Draw(r, "most"))...)
}

func (m *machine) settle(r *rapid.T) {
	name := m.name(r)
	out := m.out[name]
	if len(out) == 0 {
		r.Skip("nothing is out")
	}
	from := rapid.IntRange(0, len(out)-1).Draw(r, "from")
	to := rapid.IntRange(from+1, len(out)).Draw(r, "to")
	how := rapid.SampledFrom([]queue.Outcome{queue.Ack, queue.Ack, queue.Requeue, queue.Release, queue.Reject}).Draw(r, "how")
	ds := slices.Clone(out[from:to])
	m.out[name] = slices.Delete(slices.Clone(out), from, to)
	ws := slices.Clone(m.model.out[name][from:to])
	receipt, err := m.subs[name].Settle(ds, how)
	before := len(m.model.durable)
	m.model.settle(name, ws, how, clock())
	m.maybeWait(r, receipt, err, before, len(m.model.durable)-1)
}

func (m *machine) purge(r *rapid.T) {
	name := m.name(r)
	q, err := m.vhost.Router.Queue(name, 0)
	if err != nil {
		r.Fatal(err)
	}
	before := len(m.model.durable)
	n, receipt, err := q.Purge()
	if want := m.model.purge(name); n != want {
		r.Fatalf("purged %d messages from %s, want %d", n, name, want)
	}
	m.maybeWait(r, receipt, err, before, len(m.model.durable)-1)
}

// advance lets time pass in steps between which there is no deadline, so that the model knows what expired first.
func (m *machine) advance(r *rapid.T) {
	for range rapid.IntRange(1, 6).Draw(r, "half seconds") {
		time.Sleep(time.Second / 2)
		m.check(r)
	}
}

func (m *machine) restart(r *rapid.T) {
	if err := m.broker.Close(); err != nil {
		r.Fatal(err)
	}
	m.open(r)
	m.model.restart(m.model.durable[len(m.model.durable)-1])
	m.compare(r, []contents{m.model.durable[0]})
}

func (m *machine) crash(r *rapid.T) {
	disk := m.disk.Crash(rapid.Uint64().Draw(r, "seed"))
	_ = m.broker.Close() // it finds the power gone
	m.disk = disk
	m.open(r)
	m.compare(r, m.model.durable)
}

// compare looks into every queue: what it finds is what one of candidates becomes.
func (m *machine) compare(r *rapid.T, candidates []contents) {
	synctest.Wait()
	got := contents{}
	for _, s := range modelLaws {
		ds := make([]queue.Delivery, 1000)
		n, err := m.subscription(r, s.Name).Take(ds)
		if err != nil {
			r.Fatal(err)
		}
		for i := range n {
			got[s.Name] = append(got[s.Name], found(&ds[i], s))
		}
		if _, err := m.subs[s.Name].Settle(ds[:n], queue.Release); err != nil {
			r.Fatal(err)
		}
	}
	var states []string
	for _, c := range candidates {
		next := m.model.after(c)
		all := next.everything(clock())
		if states = append(states, all.String()); states[len(states)-1] == got.String() {
			m.model = next
			m.sync(r)
			return
		}
	}
	r.Fatalf("found\n%v\n\nwant one of\n%s", got, strings.Join(states, "\nor\n"))
}

// check compares counts after every step.
func (m *machine) check(r *rapid.T) {
	synctest.Wait()
	m.model.expire(clock())
	if m.model.together {
		m.sync(r)
	}
	for _, s := range modelLaws {
		q, err := m.vhost.Router.Queue(s.Name, 0)
		if err != nil {
			r.Fatal(err)
		}
		got, ready, out := q.Stats(), len(m.model.ready[s.Name]), len(m.model.out[s.Name])
		if got.Ready != ready || got.Unacked != out {
			r.Fatalf("%s has %d messages and %d with consumers, want %d and %d", s.Name, got.Ready, got.Unacked, ready, out)
		}
	}
}

// TestReceiptOfARejectedMessagePromisesItsDeadLetter cuts the power right after the receipt.
func TestReceiptOfARejectedMessagePromisesItsDeadLetter(t *testing.T) {
	for seed := range uint64(20) {
		disk := vfs.NewMemory()
		config := broker.Config{Dir: "data", FS: disk, Slog: slog.New(slog.DiscardHandler), Log: wal.Options{SegmentSize: 1 << 15, Fatal: func(error) {}}}
		b, err := broker.Open(config)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := b.VHost(broker.DefaultVHost)
		declare(t, v, router.QueueSpec{Name: "late", Durable: true})
		declare(t, v, router.QueueSpec{Name: "work", Durable: true, DeadLetter: true, DeadLetterKey: "late"})
		publish(t, v, &message.Message{Key: "work", Body: []byte("a"), Guarantee: message.AtLeastOnce})
		q, _ := v.Router.Queue("work", 0)
		s, _ := q.Subscribe(waker{}, queue.SubscribeOptions{})
		ds := make([]queue.Delivery, 1)
		if n, err := s.Take(ds); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		receipt, err := s.Settle(ds, queue.Reject)
		if err == nil {
			err = receipt.Wait(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
		config.FS = disk.Crash(seed)
		_ = b.Close()
		if b, err = broker.Open(config); err != nil {
			t.Fatal(err)
		}
		v, _ = b.VHost(broker.DefaultVHost)
		if work, late := drain(t, v, "work"), drain(t, v, "late"); len(work) != 0 || !slices.Equal(late, []string{"a"}) {
			t.Fatalf("seed %d: waiting %q, dead %q", seed, work, late)
		}
		closing(t, b)
	}
}
