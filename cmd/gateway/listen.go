package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"

	"tridge/admin"
	"tridge/config"
)

// listeners are the addresses the gateway has open and the goroutines that serve them. One fate: when one of them
// fails, failed is called and all of them are expected to be drained.
type listeners struct {
	state  *state
	stdout io.Writer
	log    *slog.Logger
	failed context.CancelCauseFunc
}

// start opens an address and serves it on a goroutine of group until ctx ends. An address that is Off is left alone.
func (l *listeners) start(ctx context.Context, group *sync.WaitGroup, protocol, address string, serve func(context.Context, net.Listener) error) error {
	if address == config.Off {
		return nil
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return listenError(protocol, address, err)
	}
	chosen := ln.Addr().String()
	l.state.listens(admin.Listener{Protocol: protocol, Address: chosen})
	l.log.Info("listening", "proto", protocol, "address", chosen)
	fmt.Fprintln(l.stdout, "listening", protocol, chosen)
	group.Go(func() {
		if err := serve(ctx, ln); err != nil {
			l.failed(fmt.Errorf("%s listener %s: %w", protocol, chosen, err))
		}
	})
	return nil
}

// listenError says what to do about an address that cannot be had.
func listenError(protocol, address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: another program listens on %s; choose another address with --%s HOST:PORT, any free one with --%s 127.0.0.1:0, or none with --%s off",
			protocol, address, protocol, protocol, protocol)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: not allowed to listen on %s (ports below 1024 need a privilege); choose another with --%s HOST:PORT", protocol, address, protocol)
	}
	return fmt.Errorf("%s: cannot listen on %s, change it with --%s HOST:PORT: %w", protocol, address, protocol, err)
}
