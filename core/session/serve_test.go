package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// journal is text that many goroutines write.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// handed is a listener that accepts what is put into it.
type handed chan net.Conn

func (h handed) Accept() (net.Conn, error) {
	if c, open := <-h; open {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (h handed) Close() error   { close(h); return nil }
func (h handed) Addr() net.Addr { return &net.TCPAddr{} }

// handlerFunc is a Handler.
type handlerFunc func(context.Context, net.Conn) error

func (f handlerFunc) ServeConn(ctx context.Context, c net.Conn) error { return f(ctx, c) }

// TestRefusalsAreCountedInTheLog: a crowd at a full listener does not fill the log, and none of it goes uncounted.
func TestRefusalsAreCountedInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := make(handed)
		var log journal
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			l := &Listener{Listener: ln, Limits: Limits{Connections: 1}, Log: slog.New(slog.NewTextHandler(&log, nil))}
			_ = l.Serve(ctx, handlerFunc(func(ctx context.Context, _ net.Conn) error {
				<-ctx.Done()
				return nil
			}))
		})
		crowd := func() {
			for range 100 {
				_, c := net.Pipe()
				ln <- c
			}
			synctest.Wait()
		}
		crowd()
		time.Sleep(11 * time.Second)
		crowd()
		cancel()
		all.Wait()
		if n := strings.Count(log.String(), "too many"); n != 2 || !strings.Contains(log.String(), "refused=1\n") || !strings.Contains(log.String(), "refused=99\n") {
			t.Errorf("%d lines: %s", n, &log)
		}
	})
}

// TestAcceptIsPaced: a second's worth of connections is accepted at once, the others in their turn, and none is refused.
func TestAcceptIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := make(handed)
		begin := time.Now()
		var mu sync.Mutex
		var served []time.Duration
		var text journal
		l := &Listener{Listener: ln, Limits: Limits{Rate: 10}, Log: slog.New(slog.NewTextHandler(&text, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- l.Serve(ctx, handlerFunc(func(context.Context, net.Conn) error {
				mu.Lock()
				defer mu.Unlock()
				served = append(served, time.Since(begin))
				return nil
			}))
		}()
		for range 25 {
			c, _ := net.Pipe()
			ln <- c
		}
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(served) != 25 || served[9] != 0 || served[24] < 1400*time.Millisecond || served[24] > 1600*time.Millisecond {
			t.Errorf("served at %v", served)
		}
		if n := strings.Count(text.String(), "come faster"); n != 1 {
			t.Errorf("%d warnings", n)
		}
	})
}

// TestOpenStandsBetweenSocketAndHandler: what Open makes is served and counted, its time is bounded and counts against the
// protocol's handshake, and its failure is the end of one connection.
func TestOpenStandsBetweenSocketAndHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := make(handed)
		var text journal
		served := make(chan time.Duration, 1)
		l := &Listener{Listener: ln, Limits: Limits{Handshake: 5 * time.Second}, Log: slog.New(slog.NewTextHandler(&text, nil))}
		l.Open = func(ctx context.Context, socket net.Conn) (net.Conn, error) {
			var b [4]byte
			stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
			defer stop()
			if _, err := io.ReadFull(socket, b[:]); err != nil {
				return nil, errors.New("no word in time")
			}
			return certifiedConn{socket, string(b[:])}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- l.Serve(ctx, handlerFunc(func(_ context.Context, c net.Conn) error {
				if user := CertificateUser(c); user != "user" || !Encrypted(c) {
					t.Errorf("user %q", user)
				}
				var in Inlet
				in.Init(c, NewOutbox(c), nil, nil)
				begin := time.Now()
				_ = in.Handshake(5 * time.Second)
				_, err := in.Read(make([]byte, 1))
				served <- time.Since(begin)
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error(err)
				}
				return nil
			}))
		}()
		silent, socket := net.Pipe()
		ln <- socket
		begin := time.Now()
		if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || time.Since(begin) != 5*time.Second {
			t.Errorf("a socket that says nothing ended after %v with %v", time.Since(begin), err)
		}
		client, socket := net.Pipe()
		ln <- socket
		time.Sleep(3 * time.Second) // what TLS took
		_, _ = client.Write([]byte("user"))
		if left := <-served; left != 2*time.Second {
			t.Errorf("the protocol had %v left", left)
		}
		cancel()
		<-ended
		if got := text.String(); strings.Count(got, "handshake failed") != 1 || !strings.Contains(got, "no word in time") {
			t.Errorf("log: %s", got)
		}
	})
}

type certifiedConn struct {
	net.Conn
	user string
}

func (c certifiedConn) CertificateUser() string { return c.user }
