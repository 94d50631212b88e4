package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tridge/admin"
)

// patience is how long a test waits for what should happen at once.
const patience = 20 * time.Second

// running is "gateway serve" in this process.
type running struct {
	*testing.T
	stop   context.CancelFunc
	ended  chan struct{} // closed when err is set
	err    error
	stdout transcript
	stderr transcript
}

// transcript collects what is written to it.
type transcript struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *transcript) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// launch runs "gateway serve" on free ports. Further arguments win over the ports.
func launch(t *testing.T, data string, args ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r := &running{T: t, stop: stop, ended: make(chan struct{})}
	all := []string{"serve", "--data", data}
	for _, protocol := range []string{"amqp", "stomp", "mqtt", "http"} {
		all = append(all, "--"+protocol, "127.0.0.1:0")
	}
	go func() {
		defer close(r.ended)
		r.err = run(ctx, append(all, args...), strings.NewReader(""), &r.stdout, &r.stderr)
	}()
	t.Cleanup(func() {
		stop()
		<-r.ended
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", r.stderr.String())
		}
	})
	return r
}

// start launches a gateway and waits until it is ready.
func start(t *testing.T, data string, args ...string) *running {
	t.Helper()
	r := launch(t, data, args...)
	r.eventually("ready", func() bool {
		status, _ := r.readyz()
		return status == http.StatusOK
	})
	return r
}

// eventually waits until condition holds, or the gateway has ended.
func (r *running) eventually(what string, condition func() bool) {
	r.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		select {
		case <-r.ended:
			r.Fatalf("%s: the gateway ended: %v", what, r.err)
		default:
		}
		if time.Now().After(deadline) {
			r.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// drained stops the gateway and wants it to end without an error.
func (r *running) drained() {
	r.Helper()
	r.stop()
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.Fatalf("not within %v: the end", patience)
	}
	if r.err != nil {
		r.Fatalf("run: %v", r.err)
	}
}

// address returns what the gateway has printed about a listener, "" when it has not.
func (r *running) address(protocol string) string {
	for line := range strings.Lines(r.stdout.String()) {
		if address, found := strings.CutPrefix(line, "listening "+protocol+" "); found {
			return strings.TrimSpace(address)
		}
	}
	return ""
}

// get returns status and body of a page; 0 when nothing answers.
func (r *running) get(path string) (int, []byte) {
	address := r.address("http")
	if address == "" {
		return 0, nil
	}
	answer, err := http.Get("http://" + address + path)
	if err != nil {
		return 0, nil
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, body
}

func (r *running) readyz() (status int, reason string) {
	status, body := r.get("/readyz")
	var answer struct{ Reason string }
	_ = json.Unmarshal(body, &answer)
	return status, answer.Reason
}

func (r *running) listeners() []admin.Listener {
	r.Helper()
	status, body := r.get("/api/listeners")
	var list []admin.Listener
	if err := json.Unmarshal(body, &list); status != http.StatusOK || err != nil {
		r.Fatalf("/api/listeners: %d %s", status, body)
	}
	return list
}

// legacy is a STOMP client that knows frames without content-length.
type legacy struct {
	*testing.T
	conn   net.Conn
	reader *bufio.Reader
}

func (r *running) connect() *legacy {
	r.Helper()
	return r.enter("/")
}

// enter is connect to a virtual host.
func (r *running) enter(vhost string) *legacy {
	r.Helper()
	conn, err := net.Dial("tcp", r.address("stomp"))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	c := &legacy{r.T, conn, bufio.NewReader(conn)}
	c.send("CONNECT\naccept-version:1.2\nhost:" + vhost + "\n\n")
	c.expect("CONNECTED")
	return c
}

func (c *legacy) send(frame string) {
	c.Helper()
	if _, err := fmt.Fprintf(c.conn, "%s\x00", frame); err != nil {
		c.Fatal(err)
	}
}

// expect wants the next frame to be of that command and returns it.
func (c *legacy) expect(command string) string {
	c.Helper()
	frame, err := c.reader.ReadString(0)
	if frame = strings.TrimLeft(frame, "\n"); err != nil || !strings.HasPrefix(frame, command+"\n") {
		c.Fatalf("got %q, %v; want %s", frame, err, command)
	}
	return frame
}
