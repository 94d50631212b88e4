package mqtt

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// Everybody at once under one client identifier: one is left, and everything of the others is gone.
func TestStormOfOneClientIdentifierLeavesOne(t *testing.T) {
	g := newGateway(t, Limits{})
	const clients = 100
	list := make([]*client, clients)
	for i := range list {
		list[i] = g.dial()
	}
	h := persistent(version5, "one")
	var all sync.WaitGroup
	for _, c := range list {
		all.Go(func() {
			_, _ = c.net.Write(h.packet())
			for {
				if _, _, err := c.read(time.Second); err != nil {
					return
				}
			}
		})
	}
	g.waitFor("one connection to be left", func() bool {
		s := g.server.Stats()
		return s.Connections == 1 && s.Sessions == 1
	})
	all.Wait()
	g.server.mu.Lock()
	live := len(g.server.live)
	g.server.mu.Unlock()
	if live != 1 {
		t.Errorf("%d are let in", live)
	}
}

// One retained message that thousands of filters match comes once for each of them.
func TestSubscriptionsUpToTheLimit(t *testing.T) {
	g := newGateway(t, Limits{Filters: 2000})
	c, _ := g.connect(hello{version: version5, id: "c"})
	c.publish(pub{topic: strings.Repeat("x/", 20) + "x", payload: "kept", retain: true, id: 1, qos: qos1})
	c.expectAck(typePuback, 1)
	filters := make([]string, g.server.limits.Filters)
	for i := range filters { // all of them match
		levels := make([]string, 21)
		for n := range levels {
			if levels[n] = "x"; i>>n&1 == 1 {
				levels[n] = "+"
			}
		}
		filters[i] = strings.Join(levels, "/")
	}
	go func() { _, _ = c.net.Write(c.subscription(2, nil, qos0, filters...)) }()
	if codes := c.expect(0x90)[3:]; len(codes) != len(filters) {
		t.Fatalf("%d codes", len(codes))
	}
	for range filters {
		c.expectMessage(pub{topic: strings.Repeat("x/", 20) + "x", payload: "kept", retain: true})
	}
	c.send(c.subscription(3, nil, qos0, "one/more"))
	if codes := c.expect(0x90)[3:]; Reason(codes[0]) != ReasonQuotaExceeded {
		t.Errorf("one more: 0x%02X", codes[0])
	}
}
