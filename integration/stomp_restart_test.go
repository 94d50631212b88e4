package integration

import (
	"encoding/json"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3/frame"

	"tridge/integration/gateway"
)

// frames is a STOMP 1.2 connection whose test writes the frames.
type frames struct {
	net.Conn
	t  *testing.T
	in *frame.Reader
}

func openFrames(t *testing.T, g *gateway.Process, connect ...string) *frames {
	t.Helper()
	conn, err := net.Dial("tcp", g.STOMP())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &frames{conn, t, frame.NewReader(conn)}
	c.say("CONNECT", append([]string{"accept-version:1.2", "host:/"}, connect...)...)
	c.want("CONNECTED")
	return c
}

// say sends a frame; a last part that begins with a line end is the body.
func (c *frames) say(command string, parts ...string) {
	c.t.Helper()
	body := ""
	if n := len(parts) - 1; n >= 0 && strings.HasPrefix(parts[n], "\n") {
		parts, body = parts[:n], parts[n][1:]
	}
	if _, err := c.Write([]byte(command + "\n" + strings.Join(append(parts, "", ""), "\n") + body + "\x00")); err != nil {
		c.t.Fatal(err)
	}
}

// want returns the next frame, which is one of that command.
func (c *frames) want(command string) *frame.Frame {
	c.t.Helper()
	for {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		f, err := c.in.Read()
		switch {
		case err != nil:
			c.t.Fatalf("%v, want %s", err, command)
		case f == nil: // a heart-beat, or the line end behind a frame
		case f.Command != command:
			c.t.Fatalf("%s %v %q, want %s", f.Command, f.Header, f.Body, command)
		default:
			return f
		}
	}
}

// done says a frame and waits for its RECEIPT.
func (c *frames) done(command string, parts ...string) {
	c.t.Helper()
	c.say(command, append([]string{"receipt:done"}, parts...)...)
	c.want("RECEIPT")
}

// TestSubscriptionsSurviveAKill kills the gateway under durable subscriptions of both families, with selectors, an open
// transaction, a committed one with a delay, and temporary queues; then all that was promised holds, and nothing else is left.
func TestSubscriptionsSurviveAKill(t *testing.T) {
	g := start(t)
	subscribe := map[string][]string{
		"rabbitmq": {"id:mine", "durable:true", "auto-delete:false", "ack:client-individual", "selector:color = 'red'", "destination:/topic/paint.*"},
		"activemq": {"id:1", "activemq.subscriptionName:mine", "ack:client-individual", "selector:price BETWEEN 5 AND 10", "destination:/topic/paint.>"},
	}
	subscribed := func(family string) *frames {
		c := openFrames(t, g, "client-id:painter")
		c.done("SUBSCRIBE", subscribe[family]...)
		return c
	}
	paint := func(c *frames, color, price, body string) {
		c.done("SEND", "destination:/topic/paint.wall", "persistent:true", "color:"+color, "price:"+price, "\n"+body)
	}
	for family := range subscribe {
		subscribed(family)
	}
	sender := openFrames(t, g)
	paint(sender, "red", "1", "red, cheap")
	paint(sender, "blue", "7", "blue, dear")
	paint(sender, "blue", "1", "neither")
	sender.done("BEGIN", "transaction:open")
	sender.done("SEND", "destination:/queue/painted", "persistent:true", "transaction:open", "\nnever")
	sender.done("BEGIN", "transaction:done")
	sender.done("SEND", "destination:/queue/painted", "persistent:true", "AMQ_SCHEDULED_DELAY:1000", "transaction:done", "\nlater")
	sender.done("SEND", "destination:/queue/painted", "persistent:true", "transaction:done", "\nat once")
	sender.done("COMMIT", "transaction:done")
	sender.done("SUBSCRIBE", "id:t", "destination:/temp-queue/answers")
	kill(t, g)
	g = restart(t, g)

	sender = openFrames(t, g)
	paint(sender, "red", "6", "red, dear")
	paint(sender, "green", "1", "neither")
	for family, want := range map[string][]string{"rabbitmq": {"red, cheap", "red, dear"}, "activemq": {"blue, dear", "red, dear"}} {
		c := openFrames(t, g, "client-id:painter")
		c.say("SUBSCRIBE", subscribe[family]...)
		var got, tokens []string
		for range want {
			f := c.want("MESSAGE")
			got, tokens = append(got, string(f.Body)), append(tokens, f.Header.Get("ack"))
		}
		for _, token := range tokens {
			c.done("ACK", "id:"+token)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", family, got, want)
		}
		c.done("DISCONNECT")
	}
	c := openFrames(t, g)
	c.say("SUBSCRIBE", "id:1", "destination:/queue/painted")
	for _, want := range []string{"at once", "later"} {
		if f := c.want("MESSAGE"); string(f.Body) != want {
			t.Errorf("%q, want %q", f.Body, want)
		}
	}
	eventually(t, "there is more than the three queues, or something in them", func() bool {
		var queues []struct {
			Name     string
			Messages int
		}
		if err := json.NewDecoder(management(t, g, "GET", "/api/queues", "").Body).Decode(&queues); err != nil {
			t.Fatal(err)
		}
		for _, q := range queues {
			if !strings.HasPrefix(q.Name, "stomp-") && q.Name != "painted" || q.Messages != 0 {
				return false
			}
		}
		return len(queues) == 3
	})
}
