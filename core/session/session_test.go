package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pair returns both ends of a loopback connection.
func pair(t *testing.T) (server, client net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return server, client
}

func reply(o *Outbox, text string) { o.End(append(o.Begin(), text...)) }

func read(t *testing.T, c net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// counter fills with numbered lines until it has sent up to limit.
type counter struct {
	Source
	sent, limit int
	calls       atomic.Int32
}

func (c *counter) Fill(dst []byte) ([]byte, bool) {
	c.calls.Add(1)
	for range 10 {
		if c.sent == c.limit {
			return dst, false
		}
		dst = fmt.Appendf(dst, "%d\n", c.sent)
		c.sent++
	}
	return dst, true
}

func TestReplyGoesOutBeforeTheFirstDelivery(t *testing.T) {
	server, client := pair(t)
	o := NewOutbox(server)
	c := &counter{limit: 1}
	c.Init(o, c)
	reply(o, "subscribed\n")
	c.Wake()
	if got := read(t, client, 13); got != "subscribed\n0\n" {
		t.Errorf("got %q", got)
	}
}

func TestSourcesTakeTurns(t *testing.T) {
	server, client := pair(t)
	o := NewOutbox(server)
	var all [3]*counter
	want := 0
	b := o.Begin() // hold the writer off until all are ready
	o.End(b)
	for i := range all {
		all[i] = &counter{limit: 1000}
		all[i].Init(o, all[i])
	}
	for _, c := range all {
		c.Wake()
	}
	for i := range 1000 {
		want += 3 * len(fmt.Sprintln(i))
	}
	read(t, client, want)
	o.Finish(time.Second)
	for i, c := range all {
		if c.sent != 1000 {
			t.Errorf("source %d sent %d", i, c.sent)
		}
	}
}

// restless wakes others whenever it is asked, as publishers of other connections do.
type restless struct {
	Source
	wakes []*Source
	calls atomic.Int32
}

func (r *restless) Fill(dst []byte) ([]byte, bool) {
	r.calls.Add(1)
	for _, each := range r.wakes {
		each.Wake()
	}
	return append(dst, '.'), false
}

// TestAwaitTurnWaitsForOneTurnOfAll, and not for one turn each, however often they are woken anew.
func TestAwaitTurnWaitsForOneTurnOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o := NewOutbox(far)
		fillers := make([]restless, 50)
		sources := make([]*Source, len(fillers))
		for i := range fillers {
			fillers[i].Init(o, &fillers[i])
			sources[i] = &fillers[i].Source
		}
		for i := range fillers {
			fillers[i].wakes = sources
		}
		for _, s := range sources {
			s.Wake()
		}
		synctest.Wait() // the writer is in its first write
		var served atomic.Bool
		go func() { o.AwaitTurn(sources...); served.Store(true) }()
		for range 3 { // the round under way, the one behind it, and the one whose beginning ends that
			synctest.Wait()
			if _, err := io.ReadFull(near, make([]byte, len(fillers))); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if !served.Load() {
			t.Error("three rounds later it still waits")
		}
		for i := range fillers {
			if fillers[i].calls.Load() < 2 {
				t.Errorf("source %d has not been asked", i)
			}
		}
		_ = near.Close()
		o.Finish(time.Second)
	})
}

// ample sends as much as fits into a turn, whenever it is asked.
type ample struct {
	Source
	calls atomic.Int32
}

func (a *ample) Fill(dst []byte) ([]byte, bool) {
	a.calls.Add(1)
	return append(dst, make([]byte, flushAt)...), true
}

// TestSlowPeerDoesNotPutOffTheEnd: each write has so long, but however many consumers there are, nobody waits for them all.
func TestSlowPeerDoesNotPutOffTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		o := NewOutbox(far)
		fillers := make([]ample, 1000)
		for i := range fillers {
			fillers[i].Init(o, &fillers[i])
			fillers[i].Wake()
		}
		go func() {
			for b := make([]byte, flushAt); ; time.Sleep(time.Second) { // faster than any write expires
				if _, err := io.ReadFull(near, b); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		began, awaited := time.Now(), time.Duration(0)
		done := make(chan struct{})
		go func() {
			defer close(done)
			o.AwaitTurn(&fillers[0].Source)
			awaited = time.Since(began)
			o.Finish(2 * time.Second)
		}()
		o.Hurry(2 * time.Second)
		<-done
		if took := time.Since(began); awaited > 5*time.Second || took > 10*time.Second {
			t.Errorf("a turn was waited for %s, and the end came after %s", awaited, took)
		}
		_ = near.Close()
		time.Sleep(time.Minute)
	})
}

func TestConcurrentRepliesAllArriveWhole(t *testing.T) {
	server, client := pair(t)
	o := NewOutbox(server)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 500 {
				reply(o, "0123456789")
			}
		})
	}
	if got := read(t, client, 8*500*10); got != strings.Repeat("0123456789", 8*500) {
		t.Error("replies are torn")
	}
	group.Wait()
}

func TestIdleOutboxHasNoGoroutine(t *testing.T) {
	server, client := pair(t)
	o := NewOutbox(server)
	reply(o, "x")
	read(t, client, 1)
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing { // ends only because the writer has gone
		o.room.Wait()
	}
}

func TestFloodingReaderWaitsForItsPeer(t *testing.T) {
	server, client := net.Pipe() // no buffer: nothing leaves until somebody reads
	defer client.Close()
	o := NewOutbox(server)
	reply(o, "first")
	for taken := false; !taken; time.Sleep(time.Millisecond) { // the writer is stuck with it from then on
		b := o.Begin()
		taken = len(b) == 0
		o.End(b)
	}
	chunk := strings.Repeat("x", replyLimit)
	reply(o, chunk)
	reply(o, chunk)
	waited := make(chan struct{})
	go func() {
		o.WaitRoom()
		close(waited)
	}()
	select {
	case <-waited:
		t.Fatal("did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	go func() { _, _ = io.Copy(io.Discard, client) }()
	<-waited
	o.Finish(time.Second)
}

func TestDeadPeerEndsTheOutbox(t *testing.T) {
	server, client := pair(t)
	o := NewOutbox(server)
	client.Close()
	for {
		b := o.Begin()
		err := o.err
		o.End(append(b, "more"...))
		if err != nil {
			break
		}
	}
	o.WaitRoom()
	o.Finish(time.Second)
	if _, err := server.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}

func TestNoFillAfterFinish(t *testing.T) {
	server, client := pair(t)
	go func() { _, _ = io.Copy(io.Discard, client) }()
	o := NewOutbox(server)
	c := &counter{limit: 1 << 30}
	c.Init(o, c)
	c.Wake()
	for c.calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	o.Finish(time.Second)
	calls := c.calls.Load()
	c.Wake()
	reply(o, "goodbye")
	o.Finish(time.Second)
	if c.calls.Load() != calls {
		t.Error("asked again after Finish")
	}
}

func TestFinishGivesRepliesTimeAndNoMore(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	o := NewOutbox(server)
	reply(o, "nobody reads this")
	done := make(chan struct{})
	go func() {
		o.Finish(10 * time.Millisecond)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Finish waits for a peer that does not read")
	}
}

func TestHeartBeatsOnlyIntoSilence(t *testing.T) {
	server, client := pair(t)
	o := NewOutbox(server)
	h := NewHeart(o, 20*time.Millisecond, 0, func() { reply(o, "\n") }, nil)
	defer h.Stop()
	read(t, client, 3)
}

func TestSilentPeerIsNoticedOnce(t *testing.T) {
	server, _ := pair(t)
	dead := make(chan struct{}, 10)
	h := NewHeart(NewOutbox(server), 0, 20*time.Millisecond, nil, func() { dead <- struct{}{} })
	defer h.Stop()
	go func() { _, _ = h.Read(server, make([]byte, 1)) }()
	select {
	case <-dead:
	case <-time.After(10 * time.Second):
		t.Fatal("never noticed")
	}
	h.watch(time.Millisecond)
	h.watch(time.Millisecond)
	if len(dead) != 0 {
		t.Error("told twice")
	}
}

func TestLivingPeerIsLeftAlone(t *testing.T) {
	server, _ := pair(t)
	h := NewHeart(NewOutbox(server), 0, time.Hour, nil, func() { t.Error("declared dead") })
	defer h.Stop()
	one := heartReader{h, strings.NewReader(strings.Repeat("x", 10*looks))}
	for range 10 * looks {
		if _, err := one.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		h.watch(time.Hour)
	}
	for range 10 * looks { // the reader is busy with what came: the peer may wait for us
		h.watch(time.Hour)
	}
}

func TestWindow(t *testing.T) {
	for _, c := range []struct {
		w    Window
		want int
	}{{Window{}, unlimited}, {Window{Used: 1000}, unlimited}, {Window{Limit: 5}, 5}, {Window{5, 3}, 2}, {Window{5, 9}, 0}} {
		if got := c.w.Room(); got != c.want {
			t.Errorf("%+v has room for %d, want %d", c.w, got, c.want)
		}
	}
}

// echo serves a connection by copying it back.
type echo struct{}

func (echo) ServeConn(ctx context.Context, c net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_, err := io.Copy(c, c)
	return err
}

func TestServeEndsWithItsConnections(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var text bytes.Buffer
	go func() {
		l := &Listener{Listener: ln, Limits: Limits{Connections: 1}, Log: slog.New(slog.NewTextHandler(&text, nil))}
		ended <- l.Serve(ctx, echo{})
	}()
	first, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := first.Write([]byte("hi")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, first, 2); got != "hi" {
		t.Errorf("got %q", got)
	}
	second, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	_ = second.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection over the limit: %v", err)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve does not end")
	}
	if !strings.Contains(text.String(), "too many") {
		t.Error("the refused connection is not in the log")
	}
}

// halfWriter takes half of its first write and then reports a time-out, as a socket does whose peer stopped reading.
type halfWriter struct {
	net.Conn
	mu     sync.Mutex
	writes int
	closed chan struct{}
}

func (h *halfWriter) SetWriteDeadline(time.Time) error { return nil }

func (h *halfWriter) Close() error {
	close(h.closed)
	return nil
}

func (h *halfWriter) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writes++
	if h.writes == 1 {
		return len(b) / 2, os.ErrDeadlineExceeded
	}
	return len(b), nil
}

func TestNothingFollowsAPartialWrite(t *testing.T) {
	for _, first := range []int{10, flushAt + 10} { // written after the round, and in the middle of it
		c := &halfWriter{closed: make(chan struct{})}
		o := NewOutbox(c)
		big := &block{size: first}
		big.Init(o, big)
		small := &counter{limit: 1000}
		small.Init(o, small)
		big.Wake()
		small.Wake()
		<-c.closed
		reply(o, "more")
		o.Finish(time.Second)
		c.mu.Lock()
		if c.writes != 1 {
			t.Errorf("%d writes after one that broke off in the middle", c.writes-1)
		}
		c.mu.Unlock()
	}
}

// block fills once with many bytes.
type block struct {
	Source
	size int
}

func (b *block) Fill(dst []byte) ([]byte, bool) {
	dst = append(dst, make([]byte, b.size)...)
	b.size = 0
	return dst, false
}

// heartReader reads through a heart.
type heartReader struct {
	heart  *Heart
	source io.Reader
}

func (r heartReader) Read(b []byte) (int, error) { return r.heart.Read(r.source, b) }
