package session

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Handler is an adapter's entry.
type Handler interface {
	// ServeConn serves one accepted connection until it ends, closes it, and says why it ended; nil for an orderly
	// end. When ctx ends it says goodbye in the protocol's words and returns within a few seconds.
	ServeConn(ctx context.Context, c net.Conn) error
}

// Limits bound one listener.
type Limits struct {
	Connections int // at most this many at once; 0 is 10,000
	// Rate is how many connections are accepted per second; 0 is as many as come. More wait in the system's backlog,
	// so that a crowd that comes back at once is spread and not turned away.
	Rate int
	// Handshake is what Open may take; 0 is 10 s. What the protocol's own handshake takes counts against the same time:
	// see Inlet.Handshake.
	Handshake time.Duration
}

// Listener is one address and how the connections that come in there are served.
type Listener struct {
	net.Listener
	// Open makes of an accepted socket what the handler serves: it reads a proxy's header, shakes hands over TLS. ctx
	// ends when the handshake has taken too long. An error means that the socket is closed already. Nil serves sockets as
	// they come.
	Open   func(ctx context.Context, socket net.Conn) (net.Conn, error)
	Limits Limits
	Log    *slog.Logger
	Level  slog.Level // of the lines about single connections; Info when 0
}

// Serve accepts connections until ctx ends, hands each to h on a goroutine of its own, and returns when all of them have
// ended. It closes the listener.
func (l *Listener) Serve(ctx context.Context, h Handler) error {
	limit := int64(orDefault(l.Limits.Connections, 10_000))
	var open atomic.Int64
	var all sync.WaitGroup
	defer all.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	pace := pace{rate: l.Limits.Rate}
	var slow, full seldom
	refused := 0 // since it was last told
	var pause time.Duration
	for {
		if wait := pace.next(time.Now()); wait > 0 {
			if slow.worthTelling() {
				l.Log.Warn("connections come faster than they are accepted: they wait", "address", l.Addr(), "per second", l.Limits.Rate)
			}
			sleep(ctx, wait)
		}
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			// Out of descriptors, most likely: connections that end will free some.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.Log.Warn("accept failed", "err", err, "retry", pause)
			sleep(ctx, pause)
			continue
		}
		pause = 0
		if open.Add(1) > limit {
			open.Add(-1)
			_ = c.Close()
			if refused++; full.worthTelling() {
				l.Log.Warn("connections refused: too many", "latest", c.RemoteAddr(), "limit", limit, "refused", refused)
				refused = 0
			}
			continue
		}
		accepted := time.Now()
		// Opening is deep, what it has grown its stack to ends with its goroutine: an idle connection keeps a small one.
		all.Go(func() {
			opened := l.open(ctx, c, accepted)
			if opened == nil {
				open.Add(-1)
				return
			}
			all.Go(func() {
				err := h.ServeConn(ctx, opened)
				l.close(opened, err)
				open.Add(-1)
			})
		})
	}
}

// open makes of a socket what the handler serves; nil when it has been closed instead.
func (l *Listener) open(ctx context.Context, socket net.Conn, accepted time.Time) *countedConn {
	c := &countedConn{Conn: socket, accepted: accepted}
	if l.Open != nil {
		opening, cancel := context.WithDeadline(ctx, accepted.Add(orDefault(l.Limits.Handshake, 10*time.Second)))
		opened, err := l.Open(opening, socket)
		cancel()
		if err != nil {
			l.tell("handshake failed", "conn", socket.RemoteAddr(), "after", time.Since(accepted).Round(time.Millisecond), "err", err)
			return nil
		}
		c.Conn = opened
	}
	l.tell("connected", "conn", c.RemoteAddr())
	return c
}

// close closes a connection that has been served, and tells how it ended.
func (l *Listener) close(c *countedConn, err error) {
	_ = c.Close()
	lasted := time.Since(c.accepted).Round(time.Millisecond)
	if err != nil {
		l.tell("connection ended", "conn", c.RemoteAddr(), "after", lasted, "err", err)
		return
	}
	l.tell("disconnected", "conn", c.RemoteAddr(), "after", lasted)
}

// tell logs what becomes of one connection.
func (l *Listener) tell(text string, arguments ...any) {
	l.Log.Log(context.Background(), l.Level, text, arguments...)
}

// pace spaces accepts. A second's worth may come at once.
type pace struct {
	rate int       // per second; 0 for no limit
	due  time.Time // when the next one would be on time, were they evenly spaced
}

// next takes one accept and says how long it has to wait.
func (p *pace) next(now time.Time) time.Duration {
	if p.rate <= 0 {
		return 0
	}
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(time.Second / time.Duration(p.rate))
	return p.due.Sub(now) - time.Second
}

// seldom keeps a crowd of peers from filling the log.
type seldom struct{ told time.Time }

// worthTelling is true once in ten seconds.
func (s *seldom) worthTelling() bool {
	now := time.Now()
	if now.Sub(s.told) < 10*time.Second {
		return false
	}
	s.told = now
	return true
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}
