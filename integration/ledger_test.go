package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// ledger is the publishers' side of the story: which messages they sent and which of them the gateway has confirmed.
// It decides what must be there after a crash.
type ledger struct {
	queue string // where the messages go

	mu    sync.Mutex
	last  int
	state map[int]fate
}

type fate uint8

const (
	sent      fate = iota // the gateway has not said anything: it may be there or not
	confirmed             // it must be there
	drained               // it was there and has been acknowledged: it must not come back
)

func newLedger(queue string) *ledger { return &ledger{queue: queue, state: map[int]fate{}} }

// next returns the id and the body of another message, which counts as sent. The body is made from the id, so that
// whoever finds the message can tell whether it is whole.
func (l *ledger) next() (id int, body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	l.state[l.last] = sent
	return l.last, l.body(l.last)
}

// confirm notes that the gateway has confirmed a message.
func (l *ledger) confirm(id int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state[id] == sent { // else it has been delivered before its publisher heard of it
		l.state[id] = confirmed
	}
}

// doubt notes that a message has been acknowledged, of which nobody knows yet whether it is on the disk.
func (l *ledger) doubt(id int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state[id] = sent
}

// forget notes that a message has been acknowledged for good: it must not come back.
func (l *ledger) forget(ids []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		l.state[id] = drained
	}
}

// id reads the id of a message from its body.
func (l *ledger) id(body []byte) int {
	first, _, _ := bytes.Cut(body, []byte("\n"))
	_, number, _ := strings.Cut(string(first), " ")
	id, err := strconv.Atoi(number)
	if err != nil {
		return 0 // no message has it
	}
	return id
}

// count is the number of messages with that fate.
func (l *ledger) count(f fate) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, is := range l.state {
		if is == f {
			n++
		}
	}
	return n
}

const largestBody = 4096

func (l *ledger) body(id int) []byte {
	seed := sha256.Sum256([]byte(l.queue + " " + strconv.Itoa(id)))
	source := rand.NewChaCha8(seed)
	body := fmt.Appendf(nil, "%s %d\n", l.queue, id)
	filler := make([]byte, source.Uint64()%largestBody)
	_, _ = source.Read(filler) // never fails
	return append(body, filler...)
}

// digest is what publishers write into a header, where their protocol has headers.
func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:8])
}

// arrived checks one message that was found after a crash. header is its digest, "" when it has none.
func (l *ledger) arrived(t *testing.T, body []byte, header string) {
	t.Helper()
	id := l.id(body)
	l.mu.Lock()
	defer l.mu.Unlock()
	is, known := l.state[id]
	switch {
	case !known:
		t.Errorf("%s: a message that nobody sent: %.60q", l.queue, body)
	case !bytes.Equal(body, l.body(id)):
		t.Errorf("%s: message %d has another body: %d bytes", l.queue, id, len(body))
	case header != "" && header != digest(body):
		t.Errorf("%s: message %d has another header: %q", l.queue, id, header)
	case is == drained:
		t.Errorf("%s: message %d came twice", l.queue, id)
	}
	if known {
		l.state[id] = drained
	}
}

// settle ends a round: everything confirmed must have arrived, and what was sent without an answer is forgotten,
// because it was not there.
func (l *ledger) settle(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	missing := 0
	for id, is := range l.state {
		switch is {
		case confirmed:
			if missing++; missing <= 5 {
				t.Errorf("%s: message %d was confirmed and is lost", l.queue, id)
			}
		case sent:
			delete(l.state, id)
		}
	}
	if missing > 5 {
		t.Errorf("%s: %d confirmed messages are lost", l.queue, missing)
	}
}
