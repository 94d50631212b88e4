package wiretest

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write down what the server answers instead of comparing it with the golden conversations")

// Server serves one connection until it ends and closes it, as a session handler does.
type Server func(ctx context.Context, c net.Conn) error

// Conversation says how to replay.
type Conversation struct {
	// NewServer makes a server and what it needs. It is called inside the bubble of virtual time, so goroutines and
	// timers it starts belong to it; its goroutines must end when stop has been called.
	NewServer func(t *testing.T) (serve Server, stop func())
	// Cut is the number of octets of the first frame in what the server sent, 0 when there is not a whole one. It only
	// decides where lines end. Nil: one line per answer.
	Cut func(sent []byte) int
	// Mask replaces what differs from run to run (versions, random names) by something constant. It may be nil.
	Mask func(sent []byte) []byte
}

// Replay runs the conversation in the file. After each thing that the client does it waits until nothing moves any
// more and compares what the server said with the S: lines that follow directly; no such line means silence.
func (c Conversation) Replay(t *testing.T, path string) {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	script, err := parseScript(string(src))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var took strings.Builder
	synctest.Test(t, func(t *testing.T) { c.run(t, path, script, &took) })
	if *rewrite && !t.Failed() {
		if err := os.WriteFile(path, []byte(took.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// run plays script in virtual time and writes the conversation that took place.
func (c Conversation) run(t *testing.T, path string, script []line, took *strings.Builder) {
	serve, stop := c.NewServer(t)
	near, far := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = serve(ctx, far) // why it ended is for the log; what the peer is told is in the script
		_ = far.Close()
	}()
	heard := listen(near)
	gone := false
	for len(script) > 0 {
		l := script[0]
		script = script[1:]
		if l.kind == note {
			fmt.Fprintln(took, l.text)
			continue
		}
		if l.kind == client || l.kind == hangup || l.kind == pause {
			fmt.Fprintln(took, l.text)
			act(near, l)
		}
		synctest.Wait()
		said, closing := heard.take()
		closing, gone = closing && !gone, gone || closing
		if l.kind == server || l.kind == closed { // an answer to nothing: the server speaks first
			script = append([]line{l}, script...)
		}
		script = c.compare(t, fmt.Sprintf("%s:%d", path, l.number), script, said, closing && l.kind != hangup)
		c.write(took, said, closing && l.kind != hangup)
	}
	_ = near.Close()
	cancel()
	<-ended
	stop()
}

// act does what the client does. A server that has closed the connection does not hear it.
func act(conn net.Conn, l line) {
	switch l.kind {
	case client:
		_, _ = conn.Write(l.data)
	case hangup:
		_ = conn.Close()
	case pause:
		time.Sleep(l.time)
	}
}

// compare compares what the server said with the S: lines at the start of script and returns the script after them.
func (c Conversation) compare(t *testing.T, where string, script []line, said []byte, closing bool) []line {
	var want []byte
	wantClose := false
	for len(script) > 0 && (script[0].kind == server || script[0].kind == closed) {
		want = append(want, script[0].data...)
		wantClose = wantClose || script[0].kind == closed
		script = script[1:]
	}
	if *rewrite {
		return script
	}
	if said := c.mask(said); !bytes.Equal(said, want) {
		t.Errorf("%s: the server said\n  %s\nand not\n  %s", where, formatBytes(said), formatBytes(want))
	}
	if closing != wantClose {
		t.Errorf("%s: the server closed the connection: %v, want %v", where, closing, wantClose)
	}
	return script
}

// write writes what the server said as S: lines, one per frame.
func (c Conversation) write(took *strings.Builder, said []byte, closing bool) {
	for said = c.mask(said); len(said) > 0; {
		n := len(said)
		if c.Cut != nil {
			if first := c.Cut(said); first > 0 {
				n = min(first, n)
			}
		}
		fmt.Fprintln(took, "S:", formatBytes(said[:n]))
		said = said[n:]
	}
	if closing {
		fmt.Fprintln(took, "S:", closeWord)
	}
}

func (c Conversation) mask(said []byte) []byte {
	if c.Mask == nil {
		return said
	}
	return c.Mask(said)
}

// ear gathers what the server says, so that it never waits for the client to listen.
type ear struct {
	mu     sync.Mutex
	said   []byte
	closed bool
}

// listen hears conn until it ends.
func listen(conn net.Conn) *ear {
	e := &ear{}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			e.mu.Lock()
			e.said = append(e.said, buf[:n]...)
			e.closed = err != nil
			e.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return e
}

// take returns what was said since the last call, and whether the connection has ended.
func (e *ear) take() (said []byte, closed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	said, e.said = e.said, nil
	return said, e.closed
}
