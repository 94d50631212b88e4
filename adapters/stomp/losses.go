package stomp

import (
	"iter"
	"sync/atomic"
)

// Loss names one kind of thing that a conversion to or from STOMP could not carry.
type Loss uint8

// What can be lost.
const (
	LossForgedStamp  Loss = iota // a stamp of the gateway set by a client: dropped
	LossReservedName             // a header named like one of MESSAGE's own: not delivered
	LossHeaderOctet              // a message with an octet that the subscriber's version cannot write in a header
	LossPropertyText             // a property that is not UTF-8: delivered with replacement characters
	LossReplyTo                  // a reply address that no token can stand for
	LossClusterID                // AMQP's reserved property
	LossHeld                     // a SEND that an alarm held back when its connection ended: never confirmed
	lossCount
)

// String is the name of the loss in metrics.
func (l Loss) String() string {
	return [lossCount]string{
		"forged-stamp", "reserved-name", "header-octet", "property-text", "reply-to", "cluster-id", "held",
	}[l]
}

// Losses counts by name what could not be carried: nothing is lost silently. The zero value is ready; it is safe for
// concurrent use.
type Losses struct{ counts [lossCount]atomic.Uint64 }

func (l *Losses) add(what Loss) { l.counts[what].Add(1) }

// Count is how often that was lost.
func (l *Losses) Count(what Loss) uint64 { return l.counts[what].Load() }

// All returns the counters by name.
func (l *Losses) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for i := range l.counts {
			if !yield(Loss(i).String(), l.counts[i].Load()) {
				return
			}
		}
	}
}
