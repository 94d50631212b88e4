package integration

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"tridge/integration/gateway"
)

// worker takes messages from a queue, acknowledges them, and has a promise now and then.
type worker interface {
	// take returns the body of the next message, which it has acknowledged.
	take() ([]byte, error)
	// promise publishes on the same connection and returns when that is confirmed: what was acknowledged before it is
	// on the disk as well.
	promise() error
}

type amqpWorker struct{ *amqpClient }

func (w amqpWorker) take() ([]byte, error) {
	d, open := <-w.deliveries
	if !open {
		return nil, errors.New("the connection ended")
	}
	return d.Body, d.Ack(false)
}

func (w amqpWorker) promise() error {
	return w.send("", "crash.done", amqp.Publishing{DeliveryMode: amqp.Persistent})
}

type stompWorker struct{ *stompClient }

func (w stompWorker) take() ([]byte, error) {
	m, open := <-w.subscription.C
	if !open || m.Err != nil {
		return nil, errors.New("the connection ended")
	}
	return m.Body, w.connection.Ack(m)
}

func (w stompWorker) promise() error {
	return w.send("/queue/crash.done", "", nil, []field{{"persistent", "true"}})
}

// TestCrashKeepsAcknowledgements kills the gateway while consumers work: what was acknowledged before a confirmed
// publish of the same connection never comes back, and what was not acknowledged does.
func TestCrashKeepsAcknowledgements(t *testing.T) {
	g := start(t)
	l := newLedger("crash.acks")
	a := newAMQP(t, g)
	a.declare(t, l.queue)
	a.declare(t, "crash.done")
	for round := range rounds(t) {
		fill(t, newAMQP(t, g), l, 1500)
		work := newWorker(t, g, l.queue, round)
		died := make(chan struct{})
		go func() {
			defer close(died)
			workUntilItDies(l, work)
		}()
		time.Sleep(rand.N(150 * time.Millisecond))
		kill(t, g)
		<-died
		t.Logf("round %d: %d acknowledged for good, %d in doubt", round, l.count(drained), l.count(sent))
		g = restart(t, g)
		drainAMQP(t, g, l)
		l.settle(t)
		if t.Failed() {
			t.FailNow()
		}
	}
	stop(t, g)
}

// newWorker connects a worker of AMQP or STOMP, in turn.
func newWorker(t *testing.T, g *gateway.Process, queue string, round int) worker {
	t.Helper()
	if round%2 == 0 {
		a := newAMQP(t, g)
		if err := a.channel.Qos(50, 0, false); err != nil {
			t.Fatal(err)
		}
		a.consume(t, queue)
		return amqpWorker{a}
	}
	s, err := dialSTOMP(g, stomp12, 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	s.open(t, "/amq/queue/"+queue)
	return stompWorker{s}
}

// fill publishes n messages and waits for their confirms.
func fill(t *testing.T, a *amqpClient, l *ledger, n int) {
	t.Helper()
	confirms := map[int]*amqp.DeferredConfirmation{}
	for range n {
		id, body := l.next()
		confirm, err := a.channel.PublishWithDeferredConfirm("", l.queue, false, false, persistent(body))
		if err != nil {
			t.Fatal(err)
		}
		confirms[id] = confirm
	}
	for id, confirm := range confirms {
		if !confirm.Wait() {
			t.Fatalf("message %d was nacked", id)
		}
		l.confirm(id)
	}
}

func workUntilItDies(l *ledger, w worker) {
	for {
		var batch []int
		for range 1 + rand.N(20) {
			body, err := w.take()
			if len(body) > 0 {
				l.doubt(l.id(body))
				batch = append(batch, l.id(body))
			}
			if err != nil {
				return
			}
		}
		if w.promise() != nil {
			return
		}
		l.forget(batch)
	}
}
