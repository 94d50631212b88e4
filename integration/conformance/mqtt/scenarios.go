package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// stage is a broker and a library; every scenario has topics and client identifiers of its own.
type stage struct {
	address string
	library library
	prefix  string // of topics and identifiers
	devices []device
}

// scenario is a conversation that a library has with a broker.
type scenario struct {
	name string
	five bool // for 5.0 only
	play func(s *stage) error
}

// numbers tell one run of a scenario from all others.
type numbers struct{ last atomic.Int64 }

func (n *numbers) next() string { return "c" + strconv.FormatInt(n.last.Add(1), 10) }

func (s *stage) topic(rest string) string { return s.prefix + "/" + rest }

// connect connects a device whose identifier ends in id.
func (s *stage) connect(o options) (device, error) {
	if o.id != "" {
		o.id = s.prefix + "-" + o.id
	}
	d, err := s.library.connect(s.address, o)
	if err == nil {
		s.devices = append(s.devices, d)
	}
	return d, err
}

func (s *stage) close() {
	for _, d := range s.devices {
		select {
		case <-d.ended():
		default:
			d.disconnect()
		}
	}
}

// pair is a publisher and a subscriber.
func (s *stage) pair() (p, c device, err error) {
	if p, err = s.connect(options{id: "p"}); err == nil {
		c, err = s.connect(options{id: "c"})
	}
	return p, c, err
}

func scenarios() []scenario {
	return append([]scenario{
		{"every quality of service", false, everyQoS},
		{"filters with wildcards", false, wildcards},
		{"a filter that is wrong", false, wrongFilter},
		{"unsubscribed", false, unsubscribed},
		{"overlapping filters", false, overlapping},
		{"retained, replaced and removed", false, retained},
		{"messages wait for their client", false, offline},
		{"clean start forgets", false, cleanStart},
		{"unacknowledged comes again", false, resent},
		{"will", false, will},
		{"no will after DISCONNECT", false, noWill},
		{"taken over", false, takenOver},
		{"a mebibyte", false, mebibyte},
		{"two hundred messages in order", false, manyInOrder},
		{"topics of every kind", false, oddTopics},
	}, scenarios5()...)
}

func everyQoS(s *stage) error {
	p, c, err := s.pair()
	if err != nil {
		return err
	}
	for granted := range byte(3) {
		if err := subscribed(c, granted, s.topic("t")); err != nil {
			return err
		}
		for qos := range byte(3) {
			want := packet{Topic: s.topic("t"), Payload: fmt.Sprint(granted, qos), QoS: qos}
			if err := published(p, want); err != nil {
				return err
			}
			got, err := c.receive(patience)
			if err != nil {
				return err
			}
			if want.QoS = min(qos, granted); got.Topic != want.Topic || got.Payload != want.Payload || got.QoS != want.QoS || got.Retain {
				return fmt.Errorf("received %+v, want %+v", got, want)
			}
		}
	}
	return nothing(c)
}

func wildcards(s *stage) error {
	p, c, err := s.pair()
	if err != nil {
		return err
	}
	for _, t := range []struct{ filter, topics, others string }{
		{"a/+/c", "a/b/c a//c", "a/c a/b/c/d"}, {"b/#", "b b/c b/c/d", "bc"}, {"+/d/#", "x/d x/d/e", "d x/y/d"}, {"e/+", "e/", "e e/f/g"},
	} {
		if err := subscribed(c, 1, s.topic(t.filter)); err != nil {
			return err
		}
		for _, topic := range strings.Fields(t.topics + " " + t.others) {
			if err := published(p, packet{Topic: s.topic(topic), Payload: topic, QoS: 1}); err != nil {
				return err
			}
		}
		if err := errors.Join(expect(c, strings.Fields(t.topics)...), nothing(c), c.unsubscribe(s.topic(t.filter))); err != nil {
			return fmt.Errorf("%s: %w", t.filter, err)
		}
	}
	return nil
}

func wrongFilter(s *stage) error {
	c, err := s.connect(options{id: "c"})
	if err != nil {
		return err
	}
	// A library may refuse it by itself, and a broker may say so or end the connection.
	code, err := c.subscribe(filter{Topic: s.topic("a#")})
	if err == nil && code < 0x80 {
		return fmt.Errorf("granted 0x%02X", code)
	}
	return nil
}

func unsubscribed(s *stage) error {
	p, c, err := s.pair()
	if err != nil {
		return err
	}
	return errors.Join(subscribed(c, 1, s.topic("t"), s.topic("u")), published(p, packet{Topic: s.topic("t"), Payload: "1", QoS: 1}),
		expect(c, "1"), c.unsubscribe(s.topic("t")), published(p, packet{Topic: s.topic("t"), Payload: "2", QoS: 1}),
		published(p, packet{Topic: s.topic("u"), Payload: "3", QoS: 1}), expect(c, "3"), nothing(c), c.unsubscribe(s.topic("t")))
}

func overlapping(s *stage) error {
	p, c, err := s.pair()
	if err != nil {
		return err
	}
	if err := errors.Join(subscribed(c, 0, s.topic("#")), subscribed(c, 2, s.topic("+/t")), subscribed(c, 1, s.topic("a/t")),
		published(p, packet{Topic: s.topic("a/t"), Payload: "x", QoS: 2})); err != nil {
		return err
	}
	// Once at the highest quality, or once for each filter; in both cases that quality is among them.
	highest := byte(0)
	for n := 0; ; n++ {
		got, err := c.receive(quiet)
		if errors.Is(err, errNothing) && n > 0 {
			break
		}
		if err != nil {
			return err
		}
		highest = max(highest, got.QoS)
	}
	if highest != 2 {
		return fmt.Errorf("quality of service %d, want 2", highest)
	}
	return nil
}

func retained(s *stage) error {
	p, c, err := s.pair()
	if err != nil {
		return err
	}
	topic := s.topic("t")
	err = errors.Join(published(p, packet{Topic: topic, Payload: "old", QoS: 1, Retain: true}),
		published(p, packet{Topic: topic, Payload: "kept", QoS: 1, Retain: true}), subscribed(c, 1, s.topic("+")))
	if err != nil {
		return err
	}
	got, err := c.receive(patience)
	if err != nil || got.Payload != "kept" || !got.Retain {
		return fmt.Errorf("received %+v, %w", got, err)
	}
	if err := published(p, packet{Topic: topic, QoS: 1, Retain: true}); err != nil {
		return err
	}
	if got, err = c.receive(patience); err != nil || got.Payload != "" || got.Retain {
		return fmt.Errorf("received %+v, %w", got, err)
	}
	late, err := s.connect(options{id: "late"})
	if err != nil {
		return err
	}
	return errors.Join(subscribed(late, 1, topic), nothing(late))
}

func offline(s *stage) error {
	p, c, err := s.pair()
	if err != nil {
		return err
	}
	keeper, err := s.connect(options{id: "keeper", keep: true})
	if err != nil {
		return err
	}
	if err := errors.Join(subscribed(keeper, 2, s.topic("t")), subscribed(c, 0, s.topic("t"))); err != nil {
		return err
	}
	keeper.disconnect()
	var want []string
	for i := range 20 {
		want = append(want, strconv.Itoa(i))
		if err := published(p, packet{Topic: s.topic("t"), Payload: want[i], QoS: byte(1 + i%2)}); err != nil {
			return err
		}
	}
	if keeper, err = s.connect(options{id: "keeper", keep: true}); err != nil {
		return err
	}
	if !keeper.present() {
		return errors.New("the session is not present")
	}
	return errors.Join(expectAny(keeper, want...), nothing(keeper))
}

func cleanStart(s *stage) error {
	p, _, err := s.pair()
	if err != nil {
		return err
	}
	keeper, err := s.connect(options{id: "keeper", keep: true})
	if err == nil {
		err = subscribed(keeper, 1, s.topic("t"))
	}
	if err != nil {
		return err
	}
	keeper.disconnect()
	if keeper, err = s.connect(options{id: "keeper"}); err != nil {
		return err
	}
	if keeper.present() {
		return errors.New("the session is present")
	}
	return errors.Join(published(p, packet{Topic: s.topic("t"), Payload: "x", QoS: 1}), nothing(keeper))
}

// resent cuts a connection in the middle of deliveries: whatever was acknowledged, every message comes.
func resent(s *stage) error {
	p, _, err := s.pair()
	if err != nil {
		return err
	}
	keeper, err := s.connect(options{id: "keeper", keep: true})
	if err == nil {
		err = subscribed(keeper, 1, s.topic("t"))
	}
	if err != nil {
		return err
	}
	left := map[string]bool{}
	for i := range 50 {
		payload := strconv.Itoa(i)
		left[payload] = true
		if i == 25 {
			keeper.cut()
			<-keeper.ended()
			if keeper, err = s.drain(keeper, left); err != nil {
				return err
			}
		}
		if err := published(p, packet{Topic: s.topic("t"), Payload: payload, QoS: 1}); err != nil {
			return err
		}
	}
	for len(left) > 0 {
		got, err := keeper.receive(patience)
		if err != nil {
			return fmt.Errorf("%d messages never came: %w", len(left), err)
		}
		delete(left, got.Payload)
	}
	return nil
}

// drain notes what a device has received and connects it again.
func (s *stage) drain(d device, left map[string]bool) (device, error) {
	for {
		got, err := d.receive(quiet)
		if err != nil {
			break
		}
		delete(left, got.Payload)
	}
	return s.connect(options{id: "keeper", keep: true})
}

func will(s *stage) error {
	c, err := s.connect(options{id: "c"})
	if err == nil {
		err = subscribed(c, 1, s.topic("will"))
	}
	if err != nil {
		return err
	}
	dying, err := s.connect(options{id: "dying", will: &packet{Topic: s.topic("will"), Payload: "gone", QoS: 1, Retain: true}})
	if err != nil {
		return err
	}
	dying.cut()
	if err := expect(c, "gone"); err != nil {
		return err
	}
	late, err := s.connect(options{id: "late"})
	if err != nil {
		return err
	}
	return errors.Join(subscribed(late, 1, s.topic("will")), expect(late, "gone"),
		published(c, packet{Topic: s.topic("will"), QoS: 1, Retain: true}))
}

func noWill(s *stage) error {
	c, err := s.connect(options{id: "c"})
	if err == nil {
		err = subscribed(c, 1, s.topic("will"))
	}
	if err != nil {
		return err
	}
	leaving, err := s.connect(options{id: "leaving", will: &packet{Topic: s.topic("will"), Payload: "gone"}})
	if err != nil {
		return err
	}
	leaving.disconnect()
	return nothing(c)
}

func takenOver(s *stage) error {
	first, err := s.connect(options{id: "c"})
	if err != nil {
		return err
	}
	second, err := s.connect(options{id: "c"})
	if err != nil {
		return err
	}
	select {
	case <-first.ended():
	case <-time.After(patience):
		return errors.New("the first connection goes on")
	}
	return errors.Join(subscribed(second, 1, s.topic("t")), published(second, packet{Topic: s.topic("t"), Payload: "x", QoS: 1}), expect(second, "x"))
}

func mebibyte(s *stage) error {
	p, c, err := s.pair()
	if err != nil {
		return err
	}
	payload := strings.Repeat("0123456789abcdef", 1<<16)
	return errors.Join(subscribed(c, 2, s.topic("t")), published(p, packet{Topic: s.topic("t"), Payload: payload, QoS: 2}), expect(c, payload))
}

func manyInOrder(s *stage) error {
	p, c, err := s.pair()
	if err != nil {
		return err
	}
	if err := subscribed(c, 2, s.topic("t")); err != nil {
		return err
	}
	var want []string
	for i := range 200 {
		want = append(want, strconv.Itoa(i))
	}
	sent := make(chan error, 1)
	go func() {
		for _, payload := range want {
			if err := published(p, packet{Topic: s.topic("t"), Payload: payload, QoS: 2}); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	return errors.Join(expect(c, want...), <-sent, nothing(c))
}

func oddTopics(s *stage) error {
	p, c, err := s.pair()
	if err != nil {
		return err
	}
	if err := subscribed(c, 1, s.topic("#")); err != nil {
		return err
	}
	for _, topic := range []string{"/", "//", "a b", "ä/日本/\U0001f680", "a.b*c", "a/$x", strings.Repeat("x/", 90), strings.Repeat("y", 60_000)} {
		if err := published(p, packet{Topic: s.topic(topic), Payload: "x", QoS: 1}); err != nil {
			return err
		}
		got, err := c.receive(patience)
		if err != nil || got.Topic != s.topic(topic) {
			return fmt.Errorf("topic %.40q came as %.40q: %w", topic, got.Topic, err)
		}
	}
	return nil
}
