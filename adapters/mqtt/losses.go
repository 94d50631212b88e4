package mqtt

import "sync/atomic"

// Loss names one kind of thing that a conversion to or from MQTT could not carry.
type Loss uint8

// What can be lost.
const (
	LossContentType       Loss = iota // to 3.1.1: no properties there
	LossContentEncoding               // to 3.1.1
	LossCorrelation                   // to 3.1.1
	LossReplyTo                       // to 3.1.1, and a reply address that no topic can stand for
	LossMessageID                     // to 3.1.1
	LossType                          // to 3.1.1
	LossAppID                         // to 3.1.1
	LossUserID                        // to 3.1.1
	LossTimestamp                     // to 3.1.1
	LossPriority                      // to 3.1.1
	LossExpiry                        // to 3.1.1: the deadline is kept here, the client is not told
	LossTextFlag                      // to 3.1.1
	LossHeaders                       // to 3.1.1: the headers of one message, whatever their number
	LossHeaderName                    // to 5.0: a header whose name is not UTF-8
	LossPropertyText                  // to 5.0: a property over 65,535 bytes or not UTF-8
	LossTopicEncoded                  // a routing key that is no topic: delivered percent-encoded
	LossEmptyKey                      // a message without a routing key: not delivered
	LossTopicTooLong                  // a topic over 65,535 bytes: not delivered
	LossPacketTooLarge                // over the client's maximum packet size: not delivered [MQTT-3.1.2-25]
	LossPacketEncoding                // a message no packet can hold: not delivered
	LossUnsubscribed                  // waiting when the client unsubscribed: not delivered
	LossForgedStamp                   // a stamp of the gateway set by a client: dropped
	LossRefusedTopic                  // a publish to a topic of the gateway's own: refused
	LossUnknownReplyToken             // a publish to a reply address that is gone: dropped
	LossRefusedByQueue                // from 3.1.1: a queue at its limit closed the connection; others may get copies
	LossHeld                          // a publish that an alarm held back when its connection ended: never confirmed
	LossRefusedDelay                  // an x-delay above ten years: refused
	LossPayloadFormat                 // a payload that is not the text it is said to be: refused
	lossCount
)

var lossNames = [lossCount]string{
	"content-type", "content-encoding", "correlation-id", "reply-to", "message-id", "type", "app-id", "user-id",
	"timestamp", "priority", "expiry", "payload-format", "headers", "header-name", "property-text", "topic-encoded",
	"empty-key", "topic-too-long", "packet-too-large", "packet-encoding", "unsubscribed", "forged-stamp",
	"refused-topic", "unknown-reply-token", "refused-by-queue", "held", "refused-delay", "payload-format-invalid",
}

// String is the name of the loss in metrics.
func (l Loss) String() string { return lossNames[l] }

// Losses counts by name what could not be carried: nothing is lost silently. The zero value is ready; it is safe for
// concurrent use.
type Losses struct{ counts [lossCount]atomic.Uint64 }

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
