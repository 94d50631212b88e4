package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tridge/core/confirm"
	"tridge/core/queue"
	"tridge/internal/vfs"
)

// The crash test runs publishers against a log on a disk that loses power at some operation, looks at what the log
// finds when it is opened again, and goes on from there, several times over.

const (
	crashSeeds      = 200
	crashLives      = 4
	crashPublishers = 3
)

// promise is what the ledger knows of one message.
type promise struct {
	publisher int
	number    int
	seq       uint64
	queues    []uint32
	confirmed bool
	from      *reference // what the same transaction acknowledged
}

// reference is one queue's interest in a message.
type reference struct {
	text  string
	queue uint32
}

type ackState uint8

const (
	ackAppended ackState = iota + 1
	ackConfirmed
)

// ledger is what was asked of the log and what it answered.
type ledger struct {
	mu       sync.Mutex
	messages map[string]*promise
	acks     map[reference]ackState
	numbers  [crashPublishers]int // last number appended
	safe     [crashPublishers]int // last number confirmed
}

// sinkFunc is a sink made of a function.
type sinkFunc func(first, last uint64, err error)

func (f sinkFunc) Confirmed(first, last uint64, err error) { f(first, last, err) }

// life is one run of the log between two crashes.
type life struct {
	l   *Log
	led *ledger
}

// publisher appends, acknowledges and moves its own messages until the log fails or n steps are done. live are the
// positions it may acknowledge.
func (w life) publisher(id, steps int, live *holdings, random *rand.Rand) {
	for range steps {
		var err error
		switch choice := random.IntN(10); {
		case choice < 4 || len(live.all) == 0:
			err = w.publish(id, live, nil, random)
		case choice < 9:
			err = w.acknowledge(live, random)
		default:
			from := live.pick(random)
			err = w.publish(id, live, &from, random)
		}
		if err != nil {
			return
		}
	}
}

// holdings are the references a publisher may acknowledge, in an order that depends on the seed alone.
type holdings struct {
	all []reference
	at  map[reference]queue.Pos
}

func newHoldings() *holdings { return &holdings{at: map[reference]queue.Pos{}} }

func (h *holdings) add(r reference, at queue.Pos) {
	h.all = append(h.all, r)
	h.at[r] = at
}

func (h *holdings) remove(r reference) {
	h.all = slices.DeleteFunc(h.all, func(other reference) bool { return other == r })
	delete(h.at, r)
}

func (h *holdings) pick(random *rand.Rand) reference { return h.all[random.IntN(len(h.all))] }

func (w life) publish(id int, live *holdings, from *reference, random *rand.Rand) error {
	w.led.mu.Lock()
	w.led.numbers[id]++
	number := w.led.numbers[id]
	text := fmt.Sprintf("%d-%d-%s", id, number, strings.Repeat("x", random.IntN(300)))
	p := &promise{publisher: id, number: number, from: from}
	for q := range uint32(4) {
		if random.IntN([]int{2, 3, 3, 10}[q]) == 0 {
			p.queues = append(p.queues, q+1)
		}
	}
	w.led.messages[text] = p
	if from != nil {
		w.led.acks[*from] = ackAppended
	}
	w.led.mu.Unlock()

	row := queue.Row{Table: queue.TableCounters, Key: strconv.Itoa(id), Value: []byte(strconv.Itoa(number))}
	keeps := queue.Row{Table: queue.TableRetained, Key: row.Key, Value: row.Value, Message: true}
	var at queue.Pos
	var receipt confirm.Receipt
	var err error
	if from == nil {
		at, receipt, err = w.l.Append(body(text), p.queues, keeps, row)
	} else {
		tx := queue.Tx{
			Publishes: []queue.Publish{{Message: body(text), Queues: p.queues, Rows: []queue.Row{keeps}}},
			Acks:      []queue.Refs{{Queue: from.queue, Pos: []queue.Pos{live.at[*from]}}},
			Rows:      []queue.Row{row},
		}
		var all []queue.Pos
		if all, receipt, err = w.l.AppendTx(&tx, nil); err == nil {
			at = all[0]
			live.remove(*from)
		}
	}
	if err != nil {
		return err
	}
	w.led.mu.Lock()
	p.seq = at.Seq
	w.led.mu.Unlock()
	for _, q := range p.queues {
		live.add(reference{text, q}, at)
	}
	receipt.Redeem(confirm.Ticket{Seq: 1, To: sinkFunc(func(_, _ uint64, err error) {
		if err != nil {
			return
		}
		w.led.mu.Lock()
		defer w.led.mu.Unlock()
		p.confirmed = true
		w.led.safe[id] = max(w.led.safe[id], number)
		if from != nil {
			w.led.acks[*from] = ackConfirmed
		}
	})})
	return nil
}

func (w life) acknowledge(live *holdings, random *rand.Rand) error {
	r := live.pick(random)
	if r.queue == 4 && random.IntN(20) > 0 {
		return nil // this queue is stuck, so that segments have survivors
	}
	refs, ps := []reference{r}, []queue.Pos{live.at[r]}
	for _, other := range live.all {
		if other != r && other.queue == r.queue && len(refs) < 4 {
			refs, ps = append(refs, other), append(ps, live.at[other])
		}
	}
	w.led.mu.Lock()
	for _, r := range refs {
		w.led.acks[r] = ackAppended
	}
	w.led.mu.Unlock()
	receipt, err := w.l.Ack(r.queue, ps)
	if err != nil {
		return err
	}
	for _, r := range refs {
		live.remove(r)
	}
	if random.IntN(2) == 0 {
		receipt.Redeem(confirm.Ticket{Seq: 1, To: sinkFunc(func(_, _ uint64, err error) {
			if err != nil {
				return
			}
			w.led.mu.Lock()
			defer w.led.mu.Unlock()
			for _, r := range refs {
				w.led.acks[r] = ackConfirmed
			}
		})})
	}
	return nil
}

// check compares what the log found with what the ledger demands, and forgets what was lost and allowed to be. It
// returns the positions each publisher may go on with.
func (led *ledger) check(l *Log, f *found) ([crashPublishers]*holdings, error) {
	var live [crashPublishers]*holdings
	for i := range live {
		live[i] = newHoldings()
	}
	present := map[reference]bool{}
	var last [crashPublishers]int
	for _, seq := range f.order {
		m, err := l.Read(f.messages[seq])
		if err != nil {
			return live, fmt.Errorf("read %d: %w", seq, err)
		}
		text := string(m.Body)
		p := led.messages[text]
		if p == nil {
			return live, fmt.Errorf("message %d %q was never appended", seq, text)
		}
		if p.seq != 0 && p.seq != seq {
			return live, fmt.Errorf("message %q has number %d, had %d", text, seq, p.seq)
		}
		if p.number <= last[p.publisher] {
			return live, fmt.Errorf("message %q is out of order", text)
		}
		last[p.publisher] = p.number
		for _, q := range f.queues[seq] {
			if !slices.Contains(p.queues, q) {
				return live, fmt.Errorf("message %q never was in queue %d", text, q)
			}
			present[reference{text, q}] = true
			live[p.publisher].add(reference{text, q}, f.messages[seq])
		}
	}
	var rows [crashPublishers]int
	for i := range rows {
		rows[i], _ = strconv.Atoi(f.rows[rowName(queue.TableCounters, strconv.Itoa(i))])
		if rows[i] < led.safe[i] || rows[i] > led.numbers[i] {
			return live, fmt.Errorf("row %d is %d, confirmed %d, appended %d", i, rows[i], led.safe[i], led.numbers[i])
		}
	}
	for i, number := range rows {
		name := rowName(queue.TableRetained, strconv.Itoa(i))
		if number == 0 && f.rows[name] == "" {
			continue
		}
		m, err := l.Read(f.kept[name])
		if err != nil || !strings.HasPrefix(string(m.Body), fmt.Sprintf("%d-%d-", i, number)) || f.rows[name] != strconv.Itoa(number) {
			return live, fmt.Errorf("row %d is %d and keeps message %d of %s: %w", i, number, f.kept[name].Seq, f.rows[name], err)
		}
	}
	for text, p := range led.messages {
		if p.number > rows[p.publisher] {
			// Its record was lost, or it would have brought a newer row. That loses nothing that was confirmed.
			if p.confirmed {
				return live, fmt.Errorf("message %q is lost", text)
			}
			for _, q := range p.queues {
				if present[reference{text, q}] {
					return live, fmt.Errorf("message %q is there and its row is not", text)
				}
				delete(led.acks, reference{text, q})
			}
			if p.from != nil {
				source := led.messages[p.from.text]
				if source != nil && source.number <= rows[source.publisher] && !present[*p.from] {
					return live, fmt.Errorf("half of a transaction: %q is gone and %q is not there", p.from.text, text)
				}
				delete(led.acks, *p.from)
			}
			delete(led.messages, text)
			continue
		}
		// Its record is there, so whatever was not acknowledged is too.
		p.confirmed = true
		for _, q := range p.queues {
			r := reference{text, q}
			switch {
			case led.acks[r] == 0 && !present[r]:
				return live, fmt.Errorf("message %q is lost to queue %d", text, q)
			case led.acks[r] == ackConfirmed && present[r]:
				return live, fmt.Errorf("message %q came back to queue %d", text, q)
			case led.acks[r] == ackAppended && present[r]:
				delete(led.acks, r)
			case led.acks[r] == ackAppended:
				led.acks[r] = ackConfirmed // what has been seen gone stays gone
			}
		}
		if p.from != nil && present[*p.from] {
			return live, fmt.Errorf("half of a transaction: %q and %q are both there", p.from.text, text)
		}
	}
	for i := range rows {
		led.numbers[i], led.safe[i] = rows[i], rows[i]
	}
	return live, nil
}

// stopAt wraps m so that nothing happens any more from the n-th operation on that changes the disk: because the power
// goes, or because the process is killed, and then m keeps what was written. A write is cut short.
func stopAt(m *vfs.Memory, n int, killed bool, random *rand.Rand) vfs.FS {
	var mu sync.Mutex
	random = rand.New(rand.NewPCG(random.Uint64(), 0)) // its own, because the log's goroutines use it
	return vfs.Inject(m, func(op vfs.Op) error {
		if !op.Changes() {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if n--; n == 0 && op.Kind == vfs.OpWrite {
			return vfs.ShortWrite{N: random.IntN(op.Size + 1), Err: vfs.ErrCrashed}
		}
		if n > 0 {
			return nil
		}
		if !killed {
			m.PowerOff()
		}
		return vfs.ErrCrashed
	})
}

// powerCut is stopAt for a loss of power.
func powerCut(m *vfs.Memory, n int, random *rand.Rand) vfs.FS { return stopAt(m, n, false, random) }

func crashOptions() Options {
	return Options{SegmentSize: minSegmentSize, Log: slog.New(slog.DiscardHandler), Fatal: func(error) {}, shortRun: 3}
}

// reopen opens the log on m; now and then the power goes again before it is open, once or more.
func reopen(m *vfs.Memory, random *rand.Rand) (*vfs.Memory, *Log, *found, error) {
	for range 3 {
		if random.IntN(2) == 0 {
			break
		}
		l, err := Open(powerCut(m, random.IntN(12)+1, random), "log", crashOptions(), newFound())
		if err == nil {
			_ = l.Close()
		} else if !errors.Is(err, vfs.ErrCrashed) {
			return m, nil, nil, fmt.Errorf("open while the power goes: %w", err)
		}
		m = m.Crash(random.Uint64())
	}
	f := newFound()
	l, err := Open(m, "log", crashOptions(), f)
	return m, l, f, err
}

func runCrash(seed uint64) error {
	random := rand.New(rand.NewPCG(seed, 1))
	m := vfs.NewMemory()
	led := &ledger{messages: map[string]*promise{}, acks: map[reference]ackState{}}
	for number := range crashLives {
		// Twice: once to check, then again with a power cut ahead.
		back, l, f, err := reopen(m, random)
		if err != nil {
			return fmt.Errorf("life %d: %w", number, err)
		}
		live, err := led.check(l, f)
		if err != nil {
			return fmt.Errorf("life %d: %w", number, err)
		}
		if err := l.Close(); err != nil {
			return fmt.Errorf("life %d: close: %w", number, err)
		}
		m = back
		f = newFound()
		killed := random.IntN(3) == 0
		l, err = Open(stopAt(m, 10+random.IntN(600), killed, random), "log", crashOptions(), f)
		if err != nil && !errors.Is(err, vfs.ErrCrashed) {
			return fmt.Errorf("life %d: %w", number, err)
		}
		if err == nil {
			for _, h := range live { // a position is good for one life of the log
				for r, at := range h.at {
					h.at[r] = f.messages[at.Seq]
				}
			}
			var publishers sync.WaitGroup
			for id := range crashPublishers {
				random := rand.New(rand.NewPCG(seed, uint64(number*10+id)))
				publishers.Go(func() { life{l, led}.publisher(id, 250, live[id], random) })
			}
			publishers.Wait()
			if !killed && random.IntN(4) > 0 {
				m.PowerOff()
			}
			_ = l.Close()
		}
		if !killed {
			m = m.Crash(random.Uint64())
		}
	}
	_, l, f, err := reopen(m, random)
	if err != nil {
		return err
	}
	if _, err := led.check(l, f); err != nil {
		return err
	}
	return l.Close()
}

func TestCrashKeepsEveryPromise(t *testing.T) {
	seeds := crashSeeds
	if n, err := strconv.Atoi(os.Getenv("CRASH_SEEDS")); err == nil {
		seeds = n
	}
	first := uint64(1)
	if n, err := strconv.ParseUint(os.Getenv("CRASH_FIRST"), 10, 64); err == nil {
		first = n
	}
	for seed := first; seed < first+uint64(seeds); seed++ {
		if err := runCrash(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// TestPowerLossWhileRecoveringFromAKill leaves written and unsynced bytes behind, as a killed process does, and cuts the
// power at each operation of the start that follows.
func TestPowerLossWhileRecoveringFromAKill(t *testing.T) {
	for n := range 12 {
		for seed := range uint64(15) {
			m := vfs.NewMemory()
			var killed atomic.Bool
			l, _ := open(t, vfs.Inject(m, func(op vfs.Op) error {
				if killed.Load() && op.Changes() {
					return vfs.ErrCrashed
				}
				return nil
			}), crashOptions())
			_, r, err := l.Append(body("confirmed"), []uint32{1})
			if err != nil {
				t.Fatal(err)
			}
			wait(t, r)
			for range 8 {
				appendTo(t, l, strings.Repeat("x", 250), []uint32{1})
			}
			eventually(t, "the write", func() bool { return l.Stats().Pending == 0 })
			killed.Store(true)
			_ = l.Close()

			random := rand.New(rand.NewPCG(seed, uint64(n)))
			if l, err := Open(powerCut(m, n+1, random), "log", crashOptions(), newFound()); err == nil {
				_ = l.Close()
			} else if !errors.Is(err, vfs.ErrCrashed) {
				t.Fatalf("operation %d, seed %d: %v", n, seed, err)
			}
			l, f := open(t, m.Crash(seed), crashOptions())
			if len(f.order) == 0 || f.order[0] != 1 {
				t.Fatalf("operation %d, seed %d: the confirmed message is lost: %v", n, seed, f.order)
			}
			closeLog(t, l)
		}
	}
}
