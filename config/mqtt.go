package config

import (
	"math"
	"time"

	"gopkg.in/yaml.v3"

	"tridge/core/queue"
)

// MQTT is what only clients of MQTT meet.
type MQTT struct {
	Inflight       int // QoS 1 and 2 messages sent to a client and not acknowledged
	ReceiveMaximum int // the same of a 5.0 client
	TopicAliases   int // that a 5.0 client may set
	Filters        int // of one session, and of one SUBSCRIBE
	Levels         int // of a topic or filter

	SessionExpiry  time.Duration // longest; 0 is for ever
	KeepAlive      time.Duration // longest; 0 leaves it to the clients
	ResponsePrefix string        // "" gives no response information
	SysInterval    time.Duration // of $SYS; 0 for none

	ConnectRate           int // clients let in a second; 0 is any number
	ConnectionsPerAddress int // 0 is any number

	Session queue.SessionLimits
}

func defaultMQTT() MQTT {
	return MQTT{
		Inflight: 1024, ReceiveMaximum: 1024, TopicAliases: 10, Filters: 10_000, Levels: 200,
		SessionExpiry: 90 * 24 * time.Hour, SysInterval: 10 * time.Second,
		Session: queue.SessionLimits{
			IdleLength: queue.AtMost(100_000), IdleBytes: queue.AtMost(256 << 20),
			BehindLength: queue.AtMost(100_000), BehindBytes: queue.AtMost(64 << 20),
		},
	}
}

func (d *document) mqtt(n *yaml.Node, m *MQTT) {
	var age time.Duration
	d.mapping(n,
		optional("inflight", d.number(&m.Inflight, 1, 65_535)),
		optional("receive-maximum", d.number(&m.ReceiveMaximum, 1, 65_535)),
		optional("topic-aliases", d.number(&m.TopicAliases, 1, 65_535)),
		optional("filters", d.number(&m.Filters, 1, 1_000_000)),
		optional("levels", d.number(&m.Levels, 1, 65_535)),
		optional("session-expiry-maximum", d.durationOrNone(&m.SessionExpiry, time.Second, math.MaxUint32*time.Second)),
		optional("keep-alive-maximum", d.durationOrNone(&m.KeepAlive, time.Second, math.MaxUint16*time.Second)),
		optional("response-topic-prefix", d.text(&m.ResponsePrefix)),
		optional("sys-interval", d.durationOrNone(&m.SysInterval, time.Second, 24*time.Hour)),
		optional("connect-rate", d.numberOrNone(&m.ConnectRate, 1, 1_000_000)),
		optional("connections-per-address", d.numberOrNone(&m.ConnectionsPerAddress, 1, 10_000_000)),
		optional("offline", func(n *yaml.Node) {
			d.mapping(n,
				optional("messages", d.limit(&m.Session.IdleLength, 1, 1<<40)),
				optional("bytes", d.sizeLimit(&m.Session.IdleBytes, 1, 1<<50)),
				optional("age", d.durationOrNone(&age, time.Second, 100*365*24*time.Hour)),
			)
			m.Session.Age = age.Milliseconds()
		}),
		optional("slow", func(n *yaml.Node) {
			d.mapping(n,
				optional("messages", d.limit(&m.Session.BehindLength, 1, 1<<40)),
				optional("bytes", d.sizeLimit(&m.Session.BehindBytes, 1, 1<<50)),
			)
		}),
	)
}

// none is the word for 0 where 0 is no limit.
const none = "none"

func (d *document) durationOrNone(into *time.Duration, least, most time.Duration) func(*yaml.Node) {
	return orNone(into, d.duration(into, least, most))
}

func (d *document) numberOrNone(into *int, least, most int64) func(*yaml.Node) {
	return orNone(into, d.number(into, least, most))
}

func orNone[T int | time.Duration](into *T, read func(*yaml.Node)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if v := target(n); v.Kind == yaml.ScalarNode && v.Value == none {
			*into = 0
			return
		}
		read(n)
	}
}
