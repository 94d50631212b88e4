package mqtt

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

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
		{"not over the end of the gateway", 1000, func(g *gateway) { g.server.Close() }, time.Millisecond},
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
