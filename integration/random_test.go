package integration

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// random makes messages that no table of examples has.
type random struct{ *rand.Rand }

func newRandom(t *testing.T) random {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return random{rand.New(rand.NewPCG(seed, seed))}
}

// text is up to n characters of alphabet.
func (r random) text(n int, alphabet string) string {
	letters := []rune(alphabet)
	var b strings.Builder
	for range r.IntN(n + 1) {
		b.WriteRune(letters[r.IntN(len(letters))])
	}
	return b.String()
}

const (
	letters     = "abcXYZ0189-_ éß漢🙂"
	punctuation = letters + `:\"'%=,;/.&{}[]`
	lineEnds    = punctuation + "\r\n\t"
)

// key is a routing key that is a legal topic: any characters but those of wildcards, empty words too.
func (r random) key() string { return r.text(40, letters+"..//%~&") }

// value is a header's value; AMQP's have types.
func (r random) value(k kind) any {
	alphabet := punctuation
	if k == stomp12 {
		alphabet = lineEnds
	}
	if k != amqp091 {
		return r.text(40, alphabet)
	}
	switch r.IntN(10) {
	case 0:
		return r.IntN(2) == 0
	case 1:
		return int32(r.Uint32())
	case 2:
		return int64(r.Uint64())
	case 3:
		return r.NormFloat64()
	case 4:
		return []byte(r.text(20, lineEnds) + "\xff\x00")
	case 5:
		return amqp.Table{"a": r.value(k), r.text(9, punctuation): r.value(k)}
	case 6:
		return []any{r.value(k), r.value(k)}
	case 7:
		return time.Unix(r.Int64N(1<<33), 0).UTC()
	case 8:
		return int16(r.Uint32())
	}
	return r.text(40, lineEnds)
}

func (r random) headers(k kind) (list []field) {
	for i := range r.IntN(6) {
		list = append(list, field{fmt.Sprintf("%d%s", i, r.text(20, letters)), r.value(k)})
	}
	return list
}

// TestAnyMessageComesBackWhole: random addresses and random headers, forwarded by a program of another protocol.
func TestAnyMessageComesBackWhole(t *testing.T) {
	g := shared(t)
	const each = 40
	for _, home := range []kind{amqp091, stomp12, mqtt5} {
		for _, abroad := range []kind{amqp091, stomp12, mqtt5} {
			if home == abroad {
				continue
			}
			t.Run(string(home)+" to "+string(abroad), func(t *testing.T) {
				r := newRandom(t)
				there, back := name("there"), name("back")
				direct, forwarder := newConsumer(t, g, home, there+".#"), newConsumer(t, g, abroad, there+".#")
				returned := newConsumer(t, g, home, back+".#")
				in := newPublisher(t, g, home)
				for range each {
					key := r.key()
					message := publication{key: there + "." + key, body: []byte(r.text(200, lineEnds)), headers: r.headers(home)}
					in.publish(t, message)
					want := direct.receive(t)
					forwarder.receive(t)
					forwarder.forward(t, back+"."+key)
					got := returned.receive(t)
					if !bytes.Equal(got.body, message.body) {
						t.Errorf("body %q, want %q", got.body, message.body)
					}
					if want := addressOf(home, back+"."+key); home != stomp12 && got.address != want {
						t.Errorf("address %q, want %q", got.address, want)
					}
					delete(got.fields, "x-gw-protocol")
					delete(got.fields, "x-gw-client-id")
					compareFields(t, got.fields, want.fields)
					if t.Failed() {
						t.Fatalf("after %+v", message)
					}
				}
			})
		}
	}
}
