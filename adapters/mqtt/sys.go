package mqtt

import (
	"math"
	"runtime/metrics"
	"strconv"
	"sync"
	"time"

	"tridge/core/message"
	"tridge/core/router"
)

// sysPrefix begins the topics under which the gateway tells of itself, with the names that mosquitto made known.
const sysPrefix = "$SYS/broker/"

// sys publishes them, and tells a new subscriber what they are, as mosquitto does by retaining them.
type sys struct {
	// immutable
	server    *Server
	publisher *router.Publisher
	interval  time.Duration
	started   time.Time

	timer *time.Timer // guarded by Server.mu

	// guarded by mu, which is held while the topics are told
	mu        sync.Mutex
	now       time.Time
	current   *figures                                      // nil until somebody wants one
	advancing bool                                          // averages take in what has happened since they last did
	into      func(m *message.Message, value func() string) // where what is told goes
	greeted   time.Time
	latest    []*message.Message // what new subscribers got then

	before      traffic // at the last publication
	opened      uint64
	dropped     uint64
	beforeTime  time.Time
	loads       map[string]*[3]float64
	heapHighest uint64
}

// figures are what all topics together need; they are gathered when the first is wanted.
type figures struct {
	traffic
	connected, sessions, maximum, expired, shared int
	opened                                        uint64
	dropped                                       uint64
	heap                                          uint64
}

// startSys publishes the topics every interval, until Close.
func (s *Server) startSys() {
	host, ok := s.config.Host(s.config.VHost)
	if !ok || s.config.SysInterval <= 0 {
		return
	}
	now := time.Now()
	y := &sys{server: s, publisher: host.Router.NewPublisher(0), interval: s.config.SysInterval, started: now, beforeTime: now,
		loads: map[string]*[3]float64{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sys = y
	y.timer = time.AfterFunc(y.interval, y.tick)
}

// greetEvery is how old what a new subscriber is told may be: who subscribes again and again has nothing gathered.
const greetEvery = time.Second

// greeting is what the topics are for a new subscriber to a filter with that pattern.
func (y *sys) greeting(pattern string) *messageList {
	y.mu.Lock()
	defer y.mu.Unlock()
	if now := time.Now(); now.Sub(y.greeted) >= greetEvery {
		y.latest = nil
		y.tellAll(now, func(m *message.Message, value func() string) {
			m.Body = []byte(value())
			y.latest = append(y.latest, m)
		})
		y.greeted, y.current = now, nil
	}
	l := new(messageList)
	for _, m := range y.latest {
		if matchKey(pattern, m.Key) {
			l.messages = append(l.messages, m)
		}
	}
	return l
}

// messageList is a cursor over messages that are there.
type messageList struct{ messages []*message.Message }

// Next is retained.Cursor.Next.
func (l *messageList) Next() (m *message.Message, ok bool, err error) {
	if len(l.messages) == 0 {
		return nil, false, nil
	}
	m, l.messages = l.messages[0], l.messages[1:]
	return m, true, nil
}

func (y *sys) tick() {
	s := y.server
	s.mu.Lock()
	if s.clock.stopped {
		s.mu.Unlock()
		return
	}
	s.clock.running.Add(1)
	defer s.clock.running.Done()
	s.mu.Unlock()
	y.publish()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.clock.stopped {
		y.timer.Reset(y.interval)
	}
}

// publish publishes the topics that somebody wants. For the others nothing is computed.
func (y *sys) publish() {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.advancing = true
	defer func() { y.advancing = false }()
	y.tellAll(time.Now(), func(m *message.Message, value func() string) {
		if !y.publisher.Wanted(m) {
			return
		}
		m.Body = []byte(value())
		if _, _, err := y.publisher.Publish(m); err != nil {
			y.server.log.Warn("not published", "topic", swap(m.Key), "err", err)
		}
	})
	if f := y.current; f != nil {
		y.before, y.opened, y.dropped, y.beforeTime = f.traffic, f.opened, f.dropped, y.now
	}
}

// tellAll tells every topic into a function, which asks for the value if it wants it. mu is held.
func (y *sys) tellAll(now time.Time, into func(m *message.Message, value func() string)) {
	y.now, y.current, y.into = now, nil, into
	y.tell("version", func(*figures) string { return y.server.config.Version })
	y.tell("uptime", func(*figures) string { return strconv.Itoa(int(y.now.Sub(y.started).Seconds())) + " seconds" })
	for _, n := range []struct {
		topic string
		value func(f *figures) uint64
	}{
		{"clients/total", func(f *figures) uint64 { return uint64(f.sessions) }},
		{"clients/connected", func(f *figures) uint64 { return uint64(f.connected) }},
		{"clients/active", func(f *figures) uint64 { return uint64(f.connected) }},
		{"clients/disconnected", func(f *figures) uint64 { return uint64(max(0, f.sessions-f.connected)) }},
		{"clients/inactive", func(f *figures) uint64 { return uint64(max(0, f.sessions-f.connected)) }},
		{"clients/maximum", func(f *figures) uint64 { return uint64(f.maximum) }},
		{"clients/expired", func(f *figures) uint64 { return uint64(f.expired) }},
		{"subscriptions/count", func(*figures) uint64 { return uint64(y.server.subscriptions.Load()) }},
		{"shared_subscriptions/count", func(f *figures) uint64 { return uint64(f.shared) }},
		{"retained messages/count", func(*figures) uint64 { return y.server.retainedMessages() }},
		{"heap/current", func(f *figures) uint64 { return f.heap }},
		{"heap/maximum", func(*figures) uint64 { return y.heapHighest }},
		{"messages/received", func(f *figures) uint64 { return f.packetsIn }},
		{"messages/sent", func(f *figures) uint64 { return f.packetsOut }},
		{"publish/messages/received", func(f *figures) uint64 { return f.publishesIn }},
		{"publish/messages/sent", func(f *figures) uint64 { return f.publishesOut }},
		{"publish/messages/dropped", func(f *figures) uint64 { return f.dropped }},
		{"publish/bytes/received", func(f *figures) uint64 { return f.publishBytesIn }},
		{"publish/bytes/sent", func(f *figures) uint64 { return f.publishBytesOut }},
		{"bytes/received", func(f *figures) uint64 { return f.bytesIn }},
		{"bytes/sent", func(f *figures) uint64 { return f.bytesOut }},
	} {
		y.tell(n.topic, func(f *figures) string { return strconv.FormatUint(n.value(f), 10) })
	}
	y.tellLoads()
}

// loadMinutes are what loads are averaged over, as those of the system are.
var loadMinutes = [3]float64{1, 5, 15}

// tellLoads publishes averages per minute. They are reckoned while somebody wants them.
func (y *sys) tellLoads() {
	wanted := false
	for _, load := range []struct {
		topic string
		delta func(f *figures) uint64
	}{
		{"load/messages/received", func(f *figures) uint64 { return f.packetsIn - y.before.packetsIn }},
		{"load/messages/sent", func(f *figures) uint64 { return f.packetsOut - y.before.packetsOut }},
		{"load/publish/received", func(f *figures) uint64 { return f.publishesIn - y.before.publishesIn }},
		{"load/publish/sent", func(f *figures) uint64 { return f.publishesOut - y.before.publishesOut }},
		{"load/publish/dropped", func(f *figures) uint64 { return f.dropped - y.dropped }},
		{"load/bytes/received", func(f *figures) uint64 { return f.bytesIn - y.before.bytesIn }},
		{"load/bytes/sent", func(f *figures) uint64 { return f.bytesOut - y.before.bytesOut }},
		{"load/sockets", func(f *figures) uint64 { return f.opened - y.opened }},
		{"load/connections", func(f *figures) uint64 { return f.opened - y.opened }},
	} {
		advanced := false
		for i, minutes := range loadMinutes {
			y.tell(load.topic+"/"+strconv.Itoa(int(minutes))+"min", func(f *figures) string {
				if y.loads[load.topic] == nil {
					y.loads[load.topic] = new([3]float64)
				}
				averages := y.loads[load.topic]
				if elapsed := y.now.Sub(y.beforeTime).Minutes(); y.advancing && !advanced && elapsed > 0 {
					rate := float64(int64(load.delta(f))) / elapsed
					for n := range averages {
						weight := math.Exp(-elapsed / loadMinutes[n])
						averages[n] = averages[n]*weight + rate*(1-weight)
					}
				}
				advanced, wanted = true, true
				return strconv.FormatFloat(averages[i], 'f', 2, 64)
			})
		}
	}
	if y.advancing && !wanted {
		clear(y.loads)
	}
}

// tell tells one topic.
func (y *sys) tell(name string, value func(f *figures) string) {
	y.into(&message.Message{Exchange: topicExchange, Key: swap(sysPrefix + name), Time: y.now.UnixMilli()}, func() string {
		if y.current == nil {
			y.current = y.gather()
		}
		return value(y.current)
	})
}

func (y *sys) gather() *figures {
	s := y.server
	f := &figures{traffic: s.traffic()}
	s.losses.All(func(_ Loss, n uint64) { f.dropped += n })
	s.mu.Lock()
	f.connected, f.sessions, f.maximum = len(s.live), len(s.sessions), s.maximum
	f.expired, f.opened = s.expired, s.opened
	s.mu.Unlock()
	s.shares.mu.Lock()
	f.shared = len(s.shares.members)
	s.shares.mu.Unlock()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	f.heap = sample[0].Value.Uint64()
	y.heapHighest = max(y.heapHighest, f.heap)
	return f
}

// retainedMessages is how many topics of the listener's virtual host have one.
func (s *Server) retainedMessages() uint64 {
	if host, ok := s.config.Host(s.config.VHost); ok && host.Retained != nil {
		return uint64(host.Retained.Len())
	}
	return 0
}
