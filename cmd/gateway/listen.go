package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"tridge/admin"
	"tridge/config"
	"tridge/core/session"
	"tridge/transport"
	"tridge/transport/websocket"
)

// pingInterval is how often WebSocket connections without traffic are asked whether they are alive. It is below the time
// after which proxies cut them, which often is a minute.
const pingInterval = 25 * time.Second

// listeners are the addresses the gateway has open and the goroutines that serve them. One fate: when one of them
// fails, failed is called and all of them are expected to be drained.
type listeners struct {
	state        *state
	stdout       io.Writer
	log          *slog.Logger
	failed       context.CancelCauseFunc
	limits       config.Limits
	certificates map[config.TLS]*transport.Certificate
}

// endpoint is what is spoken at one kind of listener.
type endpoint struct {
	name      string // "amqps"
	protocols []string
	secure    bool
	webSocket bool
	quiet     bool // connections are told of at level debug
	list      []config.Listener
	// handler returns what serves the connections of one listener.
	handler func(ctx context.Context, ln net.Listener, c config.Listener) session.Handler
}

// readCertificates reads the certificates of all listeners.
func (l *listeners) readCertificates(all config.Listeners) error {
	var errs []error
	for _, t := range encrypting(all) {
		if l.certificates[t] != nil {
			continue
		}
		settings := settingsOf(t)
		c, err := transport.Load(settings, l.log)
		if err != nil {
			errs = append(errs, err)
		}
		l.certificates[t] = c
	}
	return errors.Join(errs...)
}

// followCertificates reads certificates again when their files change, or on SIGHUP, until ctx ends. Without certificates
// that signal ends the process, as it does other programs.
func (l *listeners) followCertificates(ctx context.Context, group *sync.WaitGroup) {
	if len(l.certificates) == 0 {
		return
	}
	var list []*transport.Certificate
	for _, c := range l.certificates {
		list = append(list, c)
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	group.Go(func() {
		defer signal.Stop(hangup)
		transport.Follow(ctx, list, hangup)
	})
}

// encrypting is how each listener encrypts that does.
func encrypting(l config.Listeners) []config.TLS {
	var list []config.TLS
	for _, kind := range [][]config.Listener{l.AMQPS, l.STOMPS, l.MQTTS, l.HTTPS, l.WSS} {
		for _, each := range kind {
			list = append(list, each.TLS)
		}
	}
	return list
}

// settingsOf are the words of the file in those of the transport.
func settingsOf(t config.TLS) transport.Settings {
	s := transport.Settings{
		Certificate: t.Certificate.Value, Key: t.Key.Value, MinimumVersion: t.MinimumVersion, User: transport.DistinguishedName,
	}
	if t.ClientCertificates > config.CertificatesOff {
		s.ClientCA, s.Require = t.ClientCA.Value, t.ClientCertificates == config.CertificatesRequire
	}
	switch t.CertificateUser {
	case config.UserCommonName:
		s.User = transport.CommonName
	case config.UserDNSName:
		s.User = transport.DNSName
	case config.UserEmail:
		s.User = transport.EmailAddress
	}
	return s
}

// start opens the addresses of an endpoint and serves each on a goroutine of group until ctx ends.
func (l *listeners) start(ctx context.Context, group *sync.WaitGroup, e endpoint) error {
	for _, c := range e.list {
		ln, err := net.Listen("tcp", c.Address)
		if err != nil {
			return listenError(e, c.Address, err)
		}
		chosen := ln.Addr().String()
		for _, protocol := range e.protocols {
			l.state.listens(admin.Listener{Protocol: protocol, Address: chosen, TLS: e.secure, WebSocket: e.webSocket})
		}
		l.log.Info("listening", "proto", e.name, "address", chosen)
		fmt.Fprintln(l.stdout, "listening", e.name, chosen)
		serving := &session.Listener{
			Listener: ln, Log: l.log.With("proto", e.name),
			Limits: session.Limits{Connections: l.limits.Connections, Rate: c.Rate, Handshake: l.limits.Handshake},
		}
		if c.Connections > 0 {
			serving.Limits.Connections = c.Connections
		}
		if e.quiet {
			serving.Level = slog.LevelDebug
		}
		if c.ProxyProtocol || e.secure {
			serving.Open = (&transport.Opener{Proxy: c.ProxyProtocol, TLS: l.certificates[c.TLS]}).Open
		}
		handler := e.handler(ctx, ln, c)
		group.Go(func() {
			if err := serving.Serve(ctx, handler); err != nil {
				l.failed(fmt.Errorf("%s listener %s: %w", e.name, chosen, err))
			}
		})
	}
	return nil
}

// same serves every listener with h.
func same(h session.Handler) func(context.Context, net.Listener, config.Listener) session.Handler {
	return func(context.Context, net.Listener, config.Listener) session.Handler { return h }
}

// served hands connections to a server that accepts them itself.
func (l *listeners) served(group *sync.WaitGroup, serve func(context.Context, net.Listener) error) func(context.Context, net.Listener, config.Listener) session.Handler {
	return func(ctx context.Context, ln net.Listener, _ config.Listener) session.Handler {
		feed := transport.NewFeed(ln.Addr())
		group.Go(func() {
			defer feed.Close()
			if err := serve(ctx, feed); err != nil {
				l.failed(fmt.Errorf("http listener %s: %w", ln.Addr(), err))
			}
		})
		return feed
	}
}

// webSocket serves MQTT and STOMP over WebSocket. On /ws the sub-protocol decides.
func (l *listeners) webSocket(devices, legacy session.Handler) func(context.Context, net.Listener, config.Listener) session.Handler {
	return func(_ context.Context, _ net.Listener, c config.Listener) session.Handler {
		return &websocket.Server{
			Routes: []websocket.Route{
				{Paths: []string{"/mqtt", "/ws"}, Protocols: []string{"mqtt", "mqttv3.1"}, Serve: devices.ServeConn},
				{
					Paths: []string{"/stomp", "/ws"}, Protocols: []string{"v12.stomp", "v11.stomp", "v10.stomp"}, Unnamed: true, Text: true,
					Serve: legacy.ServeConn,
				},
			},
			Origins: c.Origins, Handshake: l.limits.Handshake, Ping: pingInterval,
			// The largest body with its headers. Messages that are larger because they hold several packets are not made by
			// anybody who writes a packet at a time.
			MessageSize: l.limits.MessageSize + 1<<20,
		}
	}
}

// listenError says what to do about an address that cannot be had.
func listenError(e endpoint, address string, err error) error {
	place := "in the configuration file"
	if !e.secure && !e.webSocket { // these have flags
		place = "with --" + e.name + " HOST:PORT"
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && strings.HasPrefix(place, "with"):
		return fmt.Errorf("%s: another program listens on %s; choose another address %s, any free one with --%s 127.0.0.1:0, or none with --%s off",
			e.name, address, place, e.name, e.name)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: another program listens on %s; choose another address %s", e.name, address, place)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: not allowed to listen on %s (ports below 1024 need a privilege); choose another %s", e.name, address, place)
	}
	return fmt.Errorf("%s: cannot listen on %s, change it %s: %w", e.name, address, place, err)
}
