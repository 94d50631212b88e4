package websocket

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	client "github.com/coder/websocket"
)

// piped is a connection whose writes last until they are read.
func piped(t *testing.T) (near net.Conn, c *Conn) {
	near, far := net.Pipe()
	t.Cleanup(func() { _ = near.Close() })
	return near, over(t, far, &Server{Routes: []Route{{Paths: []string{"/ws"}, Unnamed: true}}, MessageSize: 1000}, func() {
		_, _ = io.WriteString(near, request+"\r\n")
		_, _ = http.ReadResponse(bufio.NewReaderSize(near, 16), nil)
	})
}

// TestPongDoesNotWaitForASlowReader: the reader goes on while the writer is stuck, and the pong comes when it can.
func TestPongDoesNotWaitForASlowReader(t *testing.T) {
	near, c := piped(t)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte("data"))
		wrote <- err
	}()
	head := make([]byte, 1)
	if _, err := io.ReadFull(near, head); err != nil { // it is under way now
		t.Fatal(err)
	}
	read := make(chan string, 1)
	go func() {
		b := make([]byte, 100)
		n, _ := c.Read(b)
		read <- string(b[:n])
	}()
	for _, frame := range []string{masked(opPing, "1"), masked(opPing, "2"), masked(fin|opBinary, "more")} {
		if _, err := io.WriteString(near, frame); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-read; got != "more" {
		t.Errorf("read %q", got)
	}
	rest := make([]byte, 1+4+2*(2+1))
	if _, err := io.ReadFull(near, rest); err != nil || string(rest) != "\x04data\x8a\x011\x8a\x012" {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

// TestNothingIsKeptOfWhatIsOver: a connection that waits has no coroutine and no buffer, whatever came last. That a read
// can go on where the library found nothing is not in its documentation: this is the test that notices when it changes.
func TestNothingIsKeptOfWhatIsOver(t *testing.T) {
	r := &ring{frames: request + "\r\n"}
	c := over(t, r, &Server{Routes: []Route{{Paths: []string{"/ws"}, Unnamed: true}}, MessageSize: 1000}, nil)
	p := &pieces{size: 1 << 20}
	c.Conn = p
	b := make([]byte, 100)
	for _, test := range []struct{ frames, want string }{
		{masked(fin|opBinary, "a"), "a"}, {masked(fin|opPong, "1"), ""}, {masked(opPing, "1"), ""}, {masked(opPing, ""), ""},
		{masked(fin|opPong, "") + masked(fin|opBinary, "b"), "b"}, {masked(fin|opBinary, "c") + masked(fin|opPong, ""), "c"},
	} {
		*p = pieces{size: 1 << 20, rest: test.frames, late: true}
		got := ""
		for {
			n, err := c.Read(b)
			got += string(b[:n])
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if got != test.want || c.next != nil || c.feed != nil {
			t.Errorf("%q after %q; coroutine %v, buffer %v", got, test.frames, c.next != nil, c.feed != nil)
		}
	}
}

// TestFloodOfPingsIsBounded: a peer that asks and does not read the answers costs no memory.
func TestFloodOfPingsIsBounded(t *testing.T) {
	near, c := piped(t)
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(make([]byte, 3*maxFrame)) // nobody reads it
		wrote <- err
	}()
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = c.Read(make([]byte, 1000))
	}()
	if _, err := io.ReadFull(near, make([]byte, 1)); err != nil { // it is under way
		t.Fatal(err)
	}
	flood := strings.Repeat(masked(opPing, strings.Repeat("?", 125)), 1000)
	if _, err := io.WriteString(near, flood+masked(fin|opBinary, "a")); err != nil {
		t.Fatal(err)
	}
	<-read
	c.socket.mu.Lock()
	if c.socket.out != nil && len(*c.socket.out) > maxAnswers {
		t.Errorf("%d bytes wait", len(*c.socket.out))
	}
	c.socket.mu.Unlock()
	_ = near.Close()
	if err := <-wrote; err == nil {
		t.Error("written to nobody")
	}
}

// TestLongMessagesLeaveInFragments, and are whole on the other side.
func TestLongMessagesLeaveInFragments(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789"), maxFrame/4)
	b := newBench(t, func(s *Server) {
		s.Routes[0].Serve = func(_ context.Context, c net.Conn) error {
			_, err := c.Write(long)
			return errors.Join(err, c.Close())
		}
	})
	c := b.dial("/mqtt", "mqtt")
	if _, got, err := c.Read(b.context()); err != nil || !bytes.Equal(got, long) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, _, err := c.Read(b.context()); client.CloseStatus(err) != client.StatusNormalClosure {
		t.Error(err)
	}
}

// TestCloseEndsWhatIsUnderWay: a read that waits within a frame ends, and so does its coroutine.
func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	near, c := piped(t)
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 10))
		read <- err
	}()
	if _, err := io.WriteString(near, announce(fin|opBinary, 100)+"half"); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, near) }()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-read; err == nil {
		t.Error("read something")
	}
	if c.next != nil {
		t.Error("the coroutine is still there")
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("read from a closed connection")
	}
}

func TestNothingFollowsTheCloseFrame(t *testing.T) {
	near, c := piped(t)
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(near)
		got <- b
	}()
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: %v", err)
	}
	_ = c.Close()
	if b := <-got; string(b) != "\x88\x02\x03\xe8" {
		t.Errorf("% x", b)
	}
}

// ring is a connection that takes everything and gives the same bytes again and again.
type ring struct {
	pieces
	frames string
}

func (r *ring) Read(b []byte) (int, error) {
	r.written = r.written[:0]
	return copy(b, r.frames), nil
}

// TestAllocationsAreCounted: what is read costs the coroutine that takes it apart, however much it is; what is written
// costs nothing.
func TestAllocationsAreCounted(t *testing.T) {
	const many = 20
	r := &ring{frames: request + "\r\n"}
	c := over(t, r, &Server{Routes: []Route{{Paths: []string{"/ws"}, Unnamed: true}}, MessageSize: 1 << 20}, nil)
	r.frames = strings.Repeat(masked(fin|opBinary, strings.Repeat("x", 100)), many)
	b := make([]byte, 4096)
	if n := testing.AllocsPerRun(100, func() {
		if n, err := c.Read(b); err != nil || n != 100*many {
			t.Fatal(n, err)
		}
	}); n > 20 {
		t.Errorf("%v allocations to read %d messages", n, many)
	}
	if n := testing.AllocsPerRun(100, func() {
		r.written = r.written[:0]
		if _, err := c.Write(b[:1000]); err != nil {
			t.Fatal(err)
		}
	}); n >= 1 { // the pool may be emptied between two runs
		t.Errorf("%v allocations to write", n)
	}
}
