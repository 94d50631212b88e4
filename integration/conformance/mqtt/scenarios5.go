package main

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// scenarios5 are what only 5.0 has.
func scenarios5() []scenario {
	return []scenario{
		{"properties arrive as they were", true, properties},
		{"an identifier is assigned", true, assignedIdentifier},
		{"no local", true, noLocal},
		{"retain as published and retain handling", true, retainOptions},
		{"subscription identifier", true, identifier},
		{"nobody subscribes", true, nobody},
		{"expiry counts down", true, expiry},
		{"shared subscription", true, shared},
		{"shared subscription whose member leaves", true, sharedLeaves},
	}
}

func properties(s *stage) error {
	p, c, err := s.pair()
	if err != nil {
		return err
	}
	want := packet{Topic: s.topic("t"), Payload: "x", QoS: 1, ContentType: "text/plain", Response: s.topic("answers"),
		Correlation: "7\x00é", Users: [][]string{{"b", "1"}, {"b", "2"}, {"a", ""}, {"ü", "日本"}}}
	if err := errors.Join(subscribed(c, 1, want.Topic), published(p, want)); err != nil {
		return err
	}
	got, err := c.receive(patience)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("received %+v, want %+v", got, want)
	}
	return nil
}

func assignedIdentifier(s *stage) error {
	a, err := s.connect(options{})
	if err != nil {
		return err
	}
	b, err := s.connect(options{})
	if err != nil {
		return err
	}
	if a.assigned() == "" || a.assigned() == b.assigned() {
		return fmt.Errorf("identifiers %q and %q", a.assigned(), b.assigned())
	}
	return nil
}

func noLocal(s *stage) error {
	p, c, err := s.pair()
	if err != nil {
		return err
	}
	if code, err := c.subscribe(filter{Topic: s.topic("t"), QoS: 1, NoLocal: true}); err != nil || code != 1 {
		return fmt.Errorf("SUBSCRIBE: 0x%02X, %w", code, err)
	}
	return errors.Join(published(c, packet{Topic: s.topic("t"), Payload: "own", QoS: 1}),
		published(p, packet{Topic: s.topic("t"), Payload: "other's", QoS: 1}), expect(c, "other's"), nothing(c))
}

func retainOptions(s *stage) error {
	p, c, err := s.pair()
	if err != nil {
		return err
	}
	kept := packet{Topic: s.topic("t"), Payload: "kept", QoS: 1, Retain: true}
	if err := published(p, kept); err != nil {
		return err
	}
	for _, step := range []struct {
		handling byte
		comes    bool
	}{{2, false}, {1, false}, {0, true}} {
		if _, err := c.subscribe(filter{Topic: kept.Topic, QoS: 1, RetainHandling: step.handling, RetainAsPublished: true}); err != nil {
			return err
		}
		check := nothing
		if step.comes {
			check = func(d device) error { return expect(d, "kept") }
		}
		if err := check(c); err != nil {
			return fmt.Errorf("retain handling %d: %w", step.handling, err)
		}
	}
	if err := published(p, kept); err != nil {
		return err
	}
	got, err := c.receive(patience)
	if err != nil || !got.Retain {
		return fmt.Errorf("received %+v, %w: the flag is not as published", got, err)
	}
	return published(p, packet{Topic: kept.Topic, QoS: 1, Retain: true})
}

func identifier(s *stage) error {
	p, c, err := s.pair()
	if err != nil {
		return err
	}
	if _, err := c.subscribe(filter{Topic: s.topic("t"), QoS: 1, Identifier: 300}); err != nil {
		return err
	}
	if err := published(p, packet{Topic: s.topic("t"), Payload: "x", QoS: 1}); err != nil {
		return err
	}
	got, err := c.receive(patience)
	if err != nil || !reflect.DeepEqual(got.Identifiers, []int{300}) {
		return fmt.Errorf("received %+v, %w", got, err)
	}
	return nil
}

func nobody(s *stage) error {
	p, err := s.connect(options{id: "p"})
	if err != nil {
		return err
	}
	code, err := p.publish(packet{Topic: s.topic("nobody"), QoS: 1})
	if err != nil || code != 0x10 {
		return fmt.Errorf("PUBACK with 0x%02X, %w", code, err)
	}
	return nil
}

func expiry(s *stage) error {
	p, err := s.connect(options{id: "p"})
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
	if err := errors.Join(published(p, packet{Topic: s.topic("t"), Payload: "gone", QoS: 1, Expiry: 1}),
		published(p, packet{Topic: s.topic("t"), Payload: "there", QoS: 1, Expiry: 100})); err != nil {
		return err
	}
	time.Sleep(2100 * time.Millisecond) // what is under test is a time
	if keeper, err = s.connect(options{id: "keeper", keep: true}); err != nil {
		return err
	}
	got, err := keeper.receive(patience)
	if err != nil || got.Payload != "there" || got.Expiry < 90 || got.Expiry > 98 {
		return fmt.Errorf("received %+v, %w", got, err)
	}
	return nothing(keeper)
}

// members connects two members of a shared subscription and something that publishes.
func (s *stage) members() (p, a, b device, err error) {
	if p, a, err = s.pair(); err != nil {
		return nil, nil, nil, err
	}
	if b, err = s.connect(options{id: "b"}); err != nil {
		return nil, nil, nil, err
	}
	topic := "$share/group/" + s.topic("t")
	return p, a, b, errors.Join(subscribed(a, 1, topic), subscribed(b, 1, topic))
}

func shared(s *stage) error {
	p, a, b, err := s.members()
	if err != nil {
		return err
	}
	left := map[string]bool{}
	for i := range 100 {
		left[strconv.Itoa(i)] = true
		if err := published(p, packet{Topic: s.topic("t"), Payload: strconv.Itoa(i), QoS: 1}); err != nil {
			return err
		}
	}
	for _, d := range []device{a, b} {
		count := 0
		for ; ; count++ {
			got, err := d.receive(quiet)
			if err != nil {
				break
			}
			if !left[got.Payload] {
				return fmt.Errorf("message %q came twice", got.Payload)
			}
			delete(left, got.Payload)
		}
		if count == 0 {
			return errors.New("a member got nothing")
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("%d messages never came", len(left))
	}
	return nil
}

func sharedLeaves(s *stage) error {
	p, a, b, err := s.members()
	if err != nil {
		return err
	}
	a.disconnect()
	var want []string
	for i := range 10 {
		want = append(want, strconv.Itoa(i))
		if err := published(p, packet{Topic: s.topic("t"), Payload: want[i], QoS: 1}); err != nil {
			return err
		}
	}
	return expect(b, want...)
}
