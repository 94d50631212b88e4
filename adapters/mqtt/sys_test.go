package mqtt

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tellingGateway is one that publishes $SYS every ten seconds.
func tellingGateway(t *testing.T) *gateway {
	t.Helper()
	g := newGateway(t, Limits{})
	g.server.config.SysInterval, g.server.config.Version = 10*time.Second, "tridge version 1"
	g.server.startSys()
	return g
}

// sysValues reads what is published until the topic until has come.
func (c *client) sysValues(until string) map[string]string {
	c.t.Helper()
	values := map[string]string{}
	for values[until] == "" {
		m := c.messageWithin(time.Minute)
		values[m.topic] = m.payload
	}
	return values
}

func TestSysTopicsHaveTheNamesOfMosquitto(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := tellingGateway(t)
		c, _ := g.connect(persistent(version311, "c"))
		_ = c.disconnect()
		c, _ = g.connect(hello{version: version311, id: "watcher"})
		p, _ := g.connect(hello{version: version311, id: "p"})
		p.publish(pub{topic: "$SYS/broker/uptime", payload: "no"}) // refused, and counted as dropped
		p.publish(pub{topic: "a", payload: "12345"})
		p.publish(pub{topic: "a", payload: "67", qos: qos1, id: 1})
		p.expectAck(typePuback, 1)
		synctest.Wait()
		start := time.Now()
		c.subscribe(1, qos2, "$SYS/#")
		values := c.sysValues("$SYS/broker/load/connections/15min")
		if d := time.Since(start); d != 0 {
			t.Errorf("a new subscriber waits %v", d)
		}
		for topic, want := range map[string]string{
			"version": "tridge version 1", "uptime": "0 seconds", "clients/connected": "2", "clients/total": "3", "clients/disconnected": "1",
			"clients/inactive": "1", "clients/active": "2", "clients/maximum": "3", "clients/expired": "0",
			"publish/messages/received": "3", "publish/bytes/received": "9", "publish/messages/dropped": "1",
			"retained messages/count": "0", "shared_subscriptions/count": "0", "subscriptions/count": "1",
		} {
			if got := values[sysPrefix+topic]; got != want {
				t.Errorf("%s is %q, want %q", topic, got, want)
			}
		}
		values = c.sysValues("$SYS/broker/load/connections/15min")
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("the next come after %v", d)
		}
		if got := values[sysPrefix+"publish/messages/sent"]; got == "0" || got == "" {
			t.Errorf("%q messages sent", got)
		}
		if values[sysPrefix+"uptime"] != "10 seconds" || len(values) < 40 {
			t.Errorf("got %v", values)
		}
	})
}

func TestSysIsComputedForWhoSubscribesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := tellingGateway(t)
		c, _ := g.connect(hello{version: version5, id: "c"})
		c.subscribe(1, qos0, "#", "+/broker/uptime") // [MQTT-4.7.2-1]
		time.Sleep(time.Minute)
		c.expectNothing()
		synctest.Wait()
		if g.server.sys.current != nil {
			t.Error("figures were gathered")
		}
		c.subscribe(2, qos0, "$SYS/broker/uptime")
		if m := c.messageWithin(time.Minute); m.topic != "$SYS/broker/uptime" || !strings.HasSuffix(m.payload, " seconds") {
			t.Errorf("got %+v", m)
		}
	})
}

// As mosquitto retains them, a new subscriber has them at once, with the flag; who asks again and again has them from then.
func TestSysTopicsAreLikeRetainedToANewSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := tellingGateway(t)
		kept, _ := g.connect(persistent(version5, "kept"))
		kept.subscribe(1, qos1, "a", "b", "$share/g/c")
		_ = kept.disconnect()
		g = g.crash()
		g.server.config.SysInterval = 10 * time.Second
		g.server.startSys()
		c, _ := g.connect(hello{version: version5, id: "c"})
		subscriptions := func(options byte) pub {
			c.subscribe(1, options, "$SYS/broker/subscriptions/+")
			return c.message()
		}
		want := pub{topic: "$SYS/broker/subscriptions/count", payload: "4", retain: true}
		if got := subscriptions(qos1); got != want {
			t.Errorf("got %+v", got)
		}
		c.subscribe(2, qos1, "other")
		if got := subscriptions(qos1); got != want {
			t.Errorf("within a second: %+v", got)
		}
		time.Sleep(2 * time.Second)
		want.payload = "5"
		if got := subscriptions(qos1); got != want {
			t.Errorf("a second later: %+v", got)
		}
		c.send(packet(0xA2, append([]byte{0, 5, 0}, appendText(nil, "other")...)))
		c.expect(0xB0)
		want.payload, want.retain = "4", false
		if got := c.messageWithin(time.Minute); got != want {
			t.Errorf("at the interval: %+v", got)
		}
		synctest.Wait() // they are still being told
		c.subscribe(1, qos1|retainSendNever<<4, "$SYS/#")
		c.expectNothing()
	})
}
