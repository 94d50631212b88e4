package websocket

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// halves is a connection that can be ended by halves, which its peer takes no notice of.
type halves struct{ net.Conn }

func (halves) CloseWrite() error { return nil }

// slowly has a test run on a connection whose time is not ours.
func slowly(t *testing.T, test func(t *testing.T, near net.Conn, c *Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		server := &Server{Routes: []Route{{Paths: []string{"/ws"}, Unnamed: true}}, MessageSize: 1000}
		c := over(t, halves{far}, server, func() {
			_, _ = io.WriteString(near, request+"\r\n")
			_, _ = http.ReadResponse(bufio.NewReaderSize(near, 16), nil)
		})
		synctest.Wait()
		test(t, near, c)
		_ = near.Close()
		_ = c.Close()
		time.Sleep(time.Minute) // all goroutines have ended then
	})
}

// TestControlFramesMayTakeTheirTime: a session that is held back within one, by a gate for instance, is not the peer's fault.
func TestControlFramesMayTakeTheirTime(t *testing.T) {
	slowly(t, func(t *testing.T, near net.Conn, c *Conn) {
		ping := masked(opPing, "payload")
		go func() {
			_, _ = io.WriteString(near, masked(fin|opBinary, "a")+ping[:len(ping)-2])
			time.Sleep(time.Minute)
			_, _ = io.WriteString(near, ping[len(ping)-2:]+masked(fin|opBinary, "b"))
		}()
		read := make(chan string)
		go func() {
			b := make([]byte, 100)
			for range 2 {
				n, err := c.Read(b)
				if err != nil {
					read <- err.Error()
					return
				}
				read <- string(b[:n])
				time.Sleep(10 * time.Second) // held back
			}
		}()
		if got := <-read; got != "a" {
			t.Fatal(got)
		}
		time.Sleep(20 * time.Second)
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write([]byte("reply"))
			wrote <- err
		}()
		b := make([]byte, 7)
		go func() { _, _ = io.ReadFull(near, b) }()
		if err := <-wrote; err != nil || string(b) != "\x82\x05reply" {
			t.Fatalf("%q, %v", b, err)
		}
		b = make([]byte, 9)
		if _, err := io.ReadFull(near, b); err != nil || string(b) != "\x8a\x07payload" {
			t.Errorf("%q, %v", b, err)
		}
		if got := <-read; got != "b" {
			t.Error(got)
		}
	})
}

// TestNothingFollowsAFailedWrite, and nobody waits for that it could.
func TestNothingFollowsAFailedWrite(t *testing.T) {
	for _, size := range []int{10, 3 * maxFrame} {
		slowly(t, func(t *testing.T, _ net.Conn, c *Conn) {
			_ = c.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := c.Write(make([]byte, size)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%d bytes: %v", size, err)
			}
			_ = c.SetWriteDeadline(time.Now().Add(time.Second))
			again := make(chan error, 1)
			go func() {
				_, err := c.Write([]byte("more"))
				again <- err
			}()
			select {
			case err := <-again:
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("after %d bytes: %v", size, err)
				}
			case <-time.After(time.Minute):
				t.Errorf("after %d bytes the next write waits for ever", size)
			}
		})
	}
}

// TestNobodyLiftsTheLastDeadline: the peer gets a second to hang up whatever the session still asks for.
func TestNobodyLiftsTheLastDeadline(t *testing.T) {
	slowly(t, func(t *testing.T, near net.Conn, c *Conn) {
		go func() { _, _ = io.ReadFull(near, make([]byte, 4)) }() // our Close frame, and nothing is answered
		read, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := c.Read(make([]byte, 10))
			read <- err
		}()
		go func() { closed <- c.Close() }()
		synctest.Wait()
		if err := c.SetReadDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("deadline of a closed connection: %v", err)
		}
		select {
		case <-closed:
			if err := <-read; err == nil {
				t.Error("read something")
			}
		case <-time.After(time.Minute):
			t.Error("a minute later it is not closed")
		}
	})
}

// TestPeerThatClosesWithinALongMessageOfOurs gets its answer, and nothing behind it.
func TestPeerThatClosesWithinALongMessageOfOurs(t *testing.T) {
	slowly(t, func(t *testing.T, near net.Conn, c *Conn) {
		wrote, read := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, 3*maxFrame))
			wrote <- err
		}()
		go func() {
			_, err := c.Read(make([]byte, 10))
			read <- err
		}()
		if _, err := io.ReadFull(near, make([]byte, 1)); err != nil { // it is under way
			t.Fatal(err)
		}
		if _, err := io.WriteString(near, masked(opClose, "\x03\xe8bye")); err != nil {
			t.Fatal(err)
		}
		if err := <-read; err != io.EOF {
			t.Error(err)
		}
		synctest.Wait()
		got := make(chan []byte, 1)
		go func() {
			b, _ := io.ReadAll(near)
			got <- b
		}()
		if err := <-wrote; err == nil {
			t.Error("written behind the end")
		}
		closed := make(chan error, 1)
		go func() { closed <- c.Close() }()
		<-closed
		if b := <-got; !bytes.HasSuffix(b, []byte("\x88\x05\x03\xe8bye")) || len(b) > 2*maxFrame {
			t.Errorf("%d bytes, at the end % x", len(b), b[max(0, len(b)-10):])
		}
	})
}
