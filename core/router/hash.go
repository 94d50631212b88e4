package router

import (
	"hash/fnv"
	"math"
	"strconv"

	"tridge/core/message"
)

// Arguments of an exchange of kind ConsistentHash: what is hashed instead of the routing key.
const (
	ArgumentHashHeader   = "hash-header"   // the value of that header
	ArgumentHashProperty = "hash-property" // "message_id", "correlation_id" or "timestamp"
)

// hashOn is what an exchange of kind ConsistentHash hashes: the routing key, unless one of them is set.
type hashOn struct {
	header   string
	property message.Property
}

// hashProperties are the properties that can be hashed, by the names RabbitMQ gives them.
var hashProperties = map[string]message.Property{
	"message_id": message.MessageID, "correlation_id": message.CorrelationID, "timestamp": message.Timestamp,
}

// newHashOn reads the arguments of an exchange; what is wrong with them, if anything, is a reason for its declaration
// to be refused.
func newHashOn(arguments message.Headers) (on hashOn, wrong string) {
	header, byHeader := arguments.Get(ArgumentHashHeader)
	property, byProperty := arguments.Get(ArgumentHashProperty)
	switch {
	case byHeader && byProperty:
		return on, "hash-header and hash-property are mutually exclusive"
	case byHeader:
		on.header, byHeader = header.String()
		if !byHeader || on.header == "" {
			return on, "hash-header must name a header"
		}
	case byProperty:
		name, _ := property.String()
		if on.property = hashProperties[name]; on.property == 0 {
			return on, "Unsupported property: " + property.Text()
		}
	}
	return on, ""
}

// perMessage reports whether messages of one key may go to different places.
func (on *hashOn) perMessage() bool { return on.header != "" || on.property != 0 }

// of is the hash of a message. Messages without the header or property in question go to one place together.
func (on *hashOn) of(m *message.Message, key string) uint64 {
	h := fnv.New64a()
	switch {
	case on.header != "":
		v, _ := m.Head.Header(on.header)
		_, _ = h.Write(v.Raw) // never fails
	case on.property != 0:
		v, _ := m.Head.Bytes(on.property)
		_, _ = h.Write(v)
	default:
		_, _ = h.Write([]byte(key))
	}
	return h.Sum64()
}

// weighted is what a binding of such an exchange is worth.
type weighted struct {
	weight float64
	seed   uint64 // of its destination
}

// newWeighted reads the binding key, which is the weight.
func newWeighted(b *Binding) (w weighted, wrong string) {
	n, err := strconv.ParseUint(b.Key, 10, 31)
	switch {
	case err != nil:
		return w, "The binding key must be an integer: " + strconv.Quote(b.Key)
	case n < 1:
		return w, "The binding key must be greater than 0"
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(b.Destination)) // never fails
	return weighted{float64(n), h.Sum64()}, ""
}

// score is how much a binding wants a message. Each message goes to the binding that wants it most (rendezvous hashing
// with weights): a binding that comes or goes takes or leaves its own share and moves no other message.
func (w *weighted) score(hash uint64) float64 {
	// Steps of splitmix64, so that seeds and hashes that differ in one bit have nothing in common.
	x := hash ^ w.seed
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return -w.weight / math.Log((float64(x>>11)+0.5)/(1<<53))
}

// choose returns the binding that gets the message, nil when there is none.
func choose(bindings []*binding, hash uint64) *binding {
	var best *binding
	most := 0.0
	for _, b := range bindings {
		if score := b.share.score(hash); best == nil || score > most {
			best, most = b, score
		}
	}
	return best
}
