package amqp

import "sync/atomic"

// Loss names what AMQP could not carry or a client was not allowed to say.
type Loss uint8

const (
	LossForgedStamp Loss = iota // a client set a header that only the gateway may set
	LossReplyTo                 // a reply address too long for a token
	LossHeaderName              // a header name of more than 255 bytes
	LossProperty                // a property too long even for a header's place in the frame
	LossDelivery                // a message whose headers do not fit the consumer's frame-max: dead-lettered
	LossHeld                    // a publish that an alarm held back when its connection ended: never confirmed
	lossKinds                   // how many there are
)

var lossNames = [lossKinds]string{"forged-stamp", "reply-to", "header-name", "property", "delivery", "held"}

// String is the name of the loss in metrics.
func (l Loss) String() string { return lossNames[l] }

// Losses counts by name what could not be carried: nothing is lost silently. The zero value is ready; it is safe for
// concurrent use.
type Losses struct{ counts [lossKinds]atomic.Uint64 }

func (l *Losses) add(what Loss) { l.counts[what].Add(1) }

// Count is how often that was lost.
func (l *Losses) Count(what Loss) uint64 { return l.counts[what].Load() }

// All calls f with every loss that happened and how often.
func (l *Losses) All(f func(what Loss, count uint64)) {
	for i := range l.counts {
		if n := l.counts[i].Load(); n > 0 {
			f(Loss(i), n)
		}
	}
}
