package mqtt

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"tridge/core/queue"
	"tridge/core/session"
)

// watcher subscribes to a will.
func (g *gateway) watcher() *client {
	g.t.Helper()
	w, _ := g.connect(hello{version: version5, id: "watcher"})
	w.subscribe(1, qos1, "will")
	return w
}

func TestWillFollowsALostConnection(t *testing.T) {
	will := &testWill{topic: "will", payload: "gone", qos: qos1, properties: []byte(props(textProp(0x03, "text/plain"), userProp("k", "v")))}
	tests := []struct {
		name      string
		end       func(c *client)
		published bool
	}{
		{"cut", func(c *client) { _ = c.cut() }, true},
		{"DISCONNECT", func(c *client) { _ = c.disconnect() }, false},
		{"DISCONNECT with will", func(c *client) { c.send([]byte{0xE0, 1, 0x04}); _ = c.wait() }, true},
		{"DISCONNECT with an error", func(c *client) { c.send([]byte{0xE0, 1, 0x80}); _ = c.wait() }, true},
		{"protocol error", func(c *client) { c.send([]byte{0xC1, 0}); c.expectGoodbye(ReasonMalformedPacket); _ = c.wait() }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t, Limits{})
			w := g.watcher()
			c, _ := g.connect(hello{version: version5, id: "c", will: will})
			tt.end(c)
			if tt.published {
				w.expectMessage(pub{topic: "will", payload: "gone", qos: qos1, properties: props(textProp(0x03, "text/plain"), userProp("k", "v"))})
			} else {
				w.expectNothing()
			}
		})
	}
}

func TestWillIsDelayed(t *testing.T) {
	delayed := func(expiry uint32) hello {
		return hello{version: version5, id: "c", keep: true, properties: []byte(uint32Prop(0x11, expiry)),
			will: &testWill{topic: "will", payload: "gone", properties: []byte(uint32Prop(0x18, 30))}}
	}
	tests := []struct {
		name   string
		expiry uint32
		after  func(g *gateway)
		wait   time.Duration // until the will; 0 for none
	}{
		{"by its interval", 1000, func(*gateway) {}, 30 * time.Second},
		{"by the end of the session", 10, func(*gateway) {}, 10 * time.Second},
		{"not when there is no session", 0, func(*gateway) {}, time.Millisecond},
		{"for ever when the client is back", 1000, func(g *gateway) { time.Sleep(time.Second); g.connect(delayed(1000)) }, 0},
		{"not when the client starts anew", 1000, func(g *gateway) {
			time.Sleep(time.Second)
			h := delayed(1000)
			h.keep, h.will = false, nil
			g.connect(h)
		}, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t, Limits{})
				w := g.watcher()
				c, _ := g.connect(delayed(tt.expiry))
				start := time.Now()
				_ = c.cut()
				tt.after(g)
				first, _, err := w.read(10 * time.Minute)
				switch {
				case tt.wait == 0:
					if err == nil {
						t.Fatalf("packet 0x%02X", first)
					}
				case err != nil || first>>4 != byte(typePublish):
					t.Fatalf("packet 0x%02X, %v", first, err)
				default:
					if d := time.Since(start); d > tt.wait || d < tt.wait-time.Millisecond {
						t.Errorf("published after %v, want %v", d, tt.wait)
					}
				}
			})
		})
	}
}

// wills is how many the log has.
func (g *gateway) wills() int { return len(g.log.Rows(queue.TableMQTTWill)) }

// restarted is g after an orderly end and a new start.
func (g *gateway) restarted() *gateway {
	g.t.Helper()
	g.stop()
	g.waitFor("the connections to end", func() bool { return g.server.Stats().Connections == 0 })
	g.server.Close()
	return startGateway(g.t, g.log, g.retained, g.server.limits)
}

func TestWillOutlivesTheGateway(t *testing.T) {
	will := func(delay uint32) *testWill {
		return &testWill{topic: "will", payload: "gone", qos: qos1, properties: []byte(props(
			uint32Prop(0x18, delay), "\x01\x01", textProp(0x03, ""), textProp(0x08, "re"), textProp(0x09, ""), userProp("k", "v"), userProp("k", "w")))}
	}
	want := pub{topic: "will", payload: "gone", qos: qos1, properties: props("\x01\x01", textProp(0x03, ""), textProp(0x08, "re"),
		textProp(0x09, ""), userProp("k", "v"), userProp("k", "w"))}
	restart := map[string]func(*gateway) *gateway{"crash": (*gateway).crash, "restart": (*gateway).restarted}
	tests := []struct {
		name    string
		will    *testWill
		expiry  uint32
		connect func(t *testing.T, c *client) // how it is before the gateway ends
		again   bool                          // the client comes back after it
		crashed time.Duration                 // from the gateway's end to the will; -1 for never
		stopped time.Duration                 // the same when it ends in good order
	}{
		{"delayed and disconnected", will(30), 1000, func(_ *testing.T, c *client) { _ = c.cut() }, false, 30 * time.Second, 30 * time.Second},
		{"delayed and connected", will(30), 1000, func(*testing.T, *client) {}, false, 30 * time.Second, 30 * time.Second},
		{"delayed and back", will(30), 1000, func(*testing.T, *client) {}, true, -1, -1},
		{"at once", will(0), 1000, func(*testing.T, *client) {}, false, 0, -1}, // in good order before the watcher comes
		{"at once without a session", will(0), 0, func(*testing.T, *client) {}, false, 0, -1},
		{"delayed without a session", will(30), 0, func(*testing.T, *client) {}, false, 0, -1},
		{"disconnected in good order", will(30), 1000, func(_ *testing.T, c *client) { _ = c.disconnect() }, false, -1, -1},
	}
	for _, tt := range tests {
		for name, end := range restart {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := newGateway(t, Limits{})
					w, _ := g.connect(persistent(version5, "watcher"))
					w.subscribe(1, qos1, "will")
					h := hello{version: version5, id: "c", keep: true, properties: []byte(uint32Prop(0x11, tt.expiry)), will: tt.will}
					c, _ := g.connect(h)
					tt.connect(t, c)
					g = end(g)
					start := time.Now()
					if tt.again {
						h.will = nil
						g.connect(h)
					}
					w, _ = g.connect(persistent(version5, "watcher"))
					after := tt.crashed
					if name == "restart" {
						if after = tt.stopped; after < 0 && tt.crashed == 0 {
							after = 0 // published as the gateway ended, and kept for the watcher
						}
					}
					if after < 0 {
						if first, _, err := w.read(time.Hour); err == nil {
							t.Fatalf("packet 0x%02X", first)
						}
					} else {
						w.ack(typePuback, w.expectMessageWithin(time.Hour, want))
						if d := time.Since(start); d > after || d < after-2*goodbyeTime { // which the gateway's end may take
							t.Errorf("published after %v, want %v", d, after)
						}
						g.waitFor("the acknowledgement", func() bool { return g.log.Living() == 0 })
					}
					g.waitFor("the end of its row", func() bool { return g.wills() == 0 })
					g = g.crash()
					w, _ = g.connect(persistent(version5, "watcher"))
					if first, _, err := w.read(time.Hour); err == nil {
						t.Errorf("packet 0x%02X after another crash", first)
					}
				})
			})
		}
	}
}

// expectMessageWithin is expectMessage for what takes its time.
func (c *client) expectMessageWithin(d time.Duration, want pub) uint16 {
	c.t.Helper()
	got := c.messageWithin(d)
	want.id = got.id
	if got != want {
		c.t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	return got.id
}

func TestWillOfARetainedKindIsRetained(t *testing.T) {
	g := newGateway(t, Limits{})
	c, _ := g.connect(hello{id: "c", will: &testWill{topic: "will", payload: "offline", retain: true}})
	_ = c.cut()
	w, _ := g.connect(hello{id: "w"})
	w.subscribe(1, qos0, "will")
	w.expectMessage(pub{topic: "will", payload: "offline", retain: true})
}

func TestWillWaitsWhileTheDiskIsFull(t *testing.T) {
	for _, alone := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t, Limits{})
			w := g.watcher()
			other, _ := g.connect(hello{version: version5, id: "other"})
			g.gate.Set(session.Disk, true)
			for _, payload := range []string{"first", "second"} {
				c, _ := g.connect(hello{version: version5, id: "c", will: &testWill{topic: "will", payload: payload, qos: qos1}})
				_ = c.cut()
			}
			_, _, err := w.read(time.Minute)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("something came: %v", err)
			}
			g.gate.Set(session.Disk, false)
			want := []string{"first", "second"}
			if !alone { // what a client publishes now comes behind
				other.publish(pub{topic: "will", payload: "alive", qos: qos1, id: 1})
				other.expectAck(typePuback, 1)
				want = append(want, "alive")
			}
			for _, payload := range want {
				w.ack(typePuback, w.expectMessage(pub{topic: "will", payload: payload, qos: qos1}))
			}
		})
	}
}

// A will that waits for the disk and that of the next connection of its client do not end each other's rows.
func TestWillsOfOneClientThatWaitForTheDiskSurvive(t *testing.T) {
	for _, freed := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t, Limits{})
			w, _ := g.connect(persistent(version5, "watcher"))
			w.subscribe(1, qos1, "will")
			g.gate.Set(session.Disk, true)
			for _, payload := range []string{"first", "second"} {
				c, _ := g.connect(hello{version: version5, id: "c", will: &testWill{topic: "will", payload: payload, qos: qos1}})
				_ = c.cut()
				time.Sleep(time.Second)
			}
			g.connect(hello{version: version5, id: "c", will: &testWill{topic: "will", payload: "third", qos: qos1}})
			if freed {
				g.gate.Set(session.Disk, false)
				for _, payload := range []string{"first", "second"} {
					w.ack(typePuback, w.expectMessageWithin(time.Minute, pub{topic: "will", payload: payload, qos: qos1}))
				}
			}
			synctest.Wait() // the acknowledgements have arrived
			g = g.crash()
			w, _ = g.connect(persistent(version5, "watcher"))
			for _, payload := range []string{"first", "second", "third"} {
				if !freed || payload == "third" {
					w.ack(typePuback, w.expectMessageWithin(time.Minute, pub{topic: "will", payload: payload, qos: qos1}))
				}
			}
			w.expectNothing()
			if n := g.wills(); n != 0 {
				t.Errorf("%d rows are left", n)
			}
		})
	}
}
