package message

// Guarantee is what the publisher asked for.
type Guarantee uint8

const (
	AtMostOnce  Guarantee = iota // MQTT QoS 0, AMQP transient, STOMP without persistent:true
	AtLeastOnce                  // MQTT QoS 1, AMQP delivery-mode 2, STOMP persistent:true
	ExactlyOnce                  // MQTT QoS 2
)

// Message is one immutable unit of transfer. After it has been published nobody may change it or the bytes it points
// to: every queue, every session and the log share the same value.
type Message struct {
	Exchange  string // where it was published; "" is the default exchange
	Key       string // routing key: words separated by dots
	Head      Head   // properties and headers, encoded (format.md)
	Body      []byte
	Time      int64     // Unix milliseconds when the gateway accepted it
	Expires   int64     // Unix milliseconds of its deadline, 0 for never
	Origin    uint64    // publishing session, for "no local"; not kept on disk
	Priority  uint8     // 0 when the publisher said none
	Guarantee Guarantee // what the publisher asked for
	Retain    bool      // also becomes the last value of its key
}

// overhead is what a message costs beside its variable parts: the struct and an entry in a queue.
const overhead = 192

// Durable reports whether the message must survive a restart.
func (m *Message) Durable() bool { return m.Guarantee > AtMostOnce }

// Size is the number of bytes the message costs in memory.
func (m *Message) Size() int {
	return overhead + len(m.Exchange) + len(m.Key) + len(m.Head) + len(m.Body)
}

// Expired reports whether the deadline has passed at now (Unix milliseconds).
func (m *Message) Expired(now int64) bool { return m.Expires != 0 && m.Expires <= now }
