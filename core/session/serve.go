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
}

// Serve accepts connections on ln until ctx ends, hands each to h on a goroutine of its own, and returns when all of
// them have ended. It closes ln.
func Serve(ctx context.Context, ln net.Listener, h Handler, lim Limits, log *slog.Logger) error {
	limit := int64(lim.Connections)
	if limit == 0 {
		limit = 10_000
	}
	var open atomic.Int64
	var all sync.WaitGroup
	defer all.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var pause time.Duration
	for {
		c, err := ln.Accept()
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
			log.Warn("accept failed", "err", err, "retry", pause)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			continue
		}
		pause = 0
		if open.Add(1) > limit {
			open.Add(-1)
			log.Warn("connection refused: too many", "conn", c.RemoteAddr(), "limit", limit)
			_ = c.Close()
			continue
		}
		all.Go(func() {
			defer open.Add(-1)
			start := time.Now()
			log.Info("connected", "conn", c.RemoteAddr())
			counted := &countedConn{Conn: c}
			err := h.ServeConn(ctx, counted)
			_ = c.Close()
			if err != nil {
				log.Info("connection ended", "conn", c.RemoteAddr(), "after", time.Since(start).Round(time.Millisecond), "err", err)
				return
			}
			log.Info("disconnected", "conn", c.RemoteAddr(), "after", time.Since(start).Round(time.Millisecond))
		})
	}
}
