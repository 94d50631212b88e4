package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"tridge/adapters/amqp"
	"tridge/adapters/mqtt"
	"tridge/adapters/stomp"
	"tridge/adapters/stomp/wire"
	"tridge/admin"
	"tridge/config"
	"tridge/core/auth"
	"tridge/core/broker"
	"tridge/core/router"
	"tridge/core/session"
	"tridge/core/topology"
	"tridge/core/wal"
	"tridge/internal/vfs"
	"tridge/transport"
)

// product is the name peers are told.
const product = "Tridge"

// drainTimeout is how long sessions may take to say goodbye. With what closing the log takes it stays below the ten
// seconds after which a process manager loses its patience.
const drainTimeout = 7 * time.Second

// willTimeout is how long devices' wills may take to be written then. The log's end sets free what waits longer.
const willTimeout = time.Second

// serve runs the gateway until ctx ends.
func serve(ctx context.Context, s *settings, stdout, stderr io.Writer) error {
	f, err := readFiles(s)
	if err != nil {
		return err
	}
	setHeapGrowth()
	floor := newHeapFloor()
	defer runtime.KeepAlive(floor)
	log := newLogger(f.gateway.Log, stderr)
	log.Info("starting", "version", versionText(), "data", f.gateway.Data)

	// running ends when we are told to stop or when a listener fails; the cause tells which.
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	now := &state{reason: errRecovering}
	open := &listeners{
		state: now, stdout: stdout, log: log, failed: fail, limits: f.gateway.Limits, certificates: map[config.TLS]*transport.Certificate{},
	}
	if err := open.readCertificates(f.gateway.Listeners); err != nil {
		return err
	}

	// HTTP comes first and goes last: it is where people look when the rest does not answer.
	watching, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer unwatch()
	sessions := session.NewRegistry()
	web := admin.NewServer(admin.Config{
		Ready: now.ready, Listeners: now.listeners, Broker: now.opened, Connections: connections{sessions}, Log: log,
		Authenticate: func(c auth.Credentials) error {
			_, err := f.users.Authenticate(c)
			return err
		},
	})
	open.followCertificates(watching, &watchers)
	for _, e := range []endpoint{
		{name: "http", list: f.gateway.Listeners.HTTP}, {name: "https", secure: true, list: f.gateway.Listeners.HTTPS},
	} {
		e.protocols, e.quiet, e.handler = []string{"http"}, true, open.served(&watchers, web.Serve)
		if err := open.start(watching, &watchers, e); err != nil {
			return err
		}
	}

	memory := memoryLimit(f.gateway.Alarms)
	limitHeap(memory)
	b, err := broker.Open(broker.Config{
		Dir: f.gateway.Data, VHosts: vhosts(f.gateway), BodyMemory: f.gateway.Store.BodyMemory, PositionMemory: f.gateway.Store.PositionMemory,
		Log: wal.Options{Sync: syncOf(f.gateway.Store.Sync)}, Slog: log,
		MemoryLimit: memory, DiskFree: f.gateway.Alarms.DiskFree, Session: f.gateway.MQTT.Session,
	})
	switch {
	case errors.Is(err, broker.ErrInUse):
		return fmt.Errorf("another gateway uses the data directory %s; end it, or choose another with --data DIR", f.gateway.Data)
	case vfs.NoSpace(err):
		return fmt.Errorf("there is no space to begin with in the data directory %s: %w", f.gateway.Data, err)
	case err != nil:
		return err
	}
	now.open(b)
	unreachable := serveControl(ctx, f.gateway.Data, b, log)
	// What a session has published is confirmed or refused by the time the log is closed: it is closed last.
	err = serveBroker(running, b, f, s.routes != "", open, sessions, log)
	unreachable()
	return errors.Join(err, b.Close())
}

// vhosts names the virtual hosts: the default one is always there.
func vhosts(g config.Gateway) []string {
	names := []string{broker.DefaultVHost}
	for _, v := range g.VHosts {
		if v.Name != broker.DefaultVHost {
			names = append(names, v.Name)
		}
	}
	return names
}

// serveBroker applies the routes, opens the listeners, and drains them when ctx ends.
func serveBroker(ctx context.Context, b *broker.Broker, f files, hasRoutes bool, open *listeners, members *session.Registry, log *slog.Logger) error {
	if hasRoutes {
		if err := applyRoutes(ctx, b, f.changes, log); err != nil {
			return err
		}
	}
	open.state.set(errStarting)
	login := newLogin(f.users, b)
	limits := f.gateway.Limits
	devices, err := mqtt.NewServer(mqtt.Config{
		Login: login, SCRAM: f.users.SCRAM, Host: mqttHosts(b), State: b.State(), Gate: b.Gate(), Sessions: members, Log: log.With("proto", "mqtt"),
		Limits: mqttLimits(f.gateway), ResponsePrefix: f.gateway.MQTT.ResponsePrefix,
		SysInterval: f.gateway.MQTT.SysInterval, Version: "tridge version " + versionText(),
	})
	if err != nil {
		return err
	}
	defer func() {
		var closing sync.WaitGroup
		closing.Go(devices.Close)
		if !waitFor(&closing, willTimeout) {
			log.Warn("wills and ends of sessions wait for a full disk; the next start finds the sessions as they are")
		}
	}()
	applications := amqp.NewServer(amqp.Config{
		Login: login, Version: versionText(), Cluster: product, Gate: b.Gate(), Sessions: members, Log: log.With("proto", "amqp"),
		Replies: func(vhost string) amqp.Replies {
			if host, ok := b.VHost(vhost); ok {
				return host.Replies
			}
			return nil
		},
		Limits: amqp.Limits{Handshake: limits.Handshake, MessageSize: limits.MessageSize},
	})
	legacy := stomp.NewServer(stomp.Config{
		Login: login, Product: product, Gate: b.Gate(), Sessions: members, Log: log.With("proto", "stomp"),
		Replies: func(vhost string) stomp.Replies {
			if host, ok := b.VHost(vhost); ok {
				return host.Replies
			}
			return nil
		},
		Limits:          stomp.Limits{Handshake: limits.Handshake, Frame: wire.Limits{Body: int(limits.MessageSize)}},
		ImplicitConnect: f.gateway.STOMP.ImplicitConnect, StrictHost: f.gateway.STOMP.StrictHost,
		DefaultLogin: f.gateway.STOMP.DefaultLogin, DefaultPasscode: f.gateway.STOMP.DefaultPasscode,
	})

	// Not of ctx: whoever asks must be told that we drain before the first peer is.
	accepting, drain := context.WithCancel(context.WithoutCancel(ctx))
	defer drain()
	var sessions sync.WaitGroup
	addresses, overWeb := f.gateway.Listeners, open.webSocket(devices, legacy)
	for _, e := range []endpoint{
		{name: "amqp", protocols: []string{"amqp"}, list: addresses.AMQP, handler: same(applications)},
		{name: "amqps", protocols: []string{"amqp"}, list: addresses.AMQPS, handler: same(applications), secure: true},
		{name: "stomp", protocols: []string{"stomp"}, list: addresses.STOMP, handler: same(legacy)},
		{name: "stomps", protocols: []string{"stomp"}, list: addresses.STOMPS, handler: same(legacy), secure: true},
		{name: "mqtt", protocols: []string{"mqtt"}, list: addresses.MQTT, handler: same(devices)},
		{name: "mqtts", protocols: []string{"mqtt"}, list: addresses.MQTTS, handler: same(devices), secure: true},
		{name: "ws", protocols: []string{"mqtt", "stomp"}, list: addresses.WS, handler: overWeb, webSocket: true},
		{name: "wss", protocols: []string{"mqtt", "stomp"}, list: addresses.WSS, handler: overWeb, webSocket: true, secure: true},
	} {
		if err = open.start(accepting, &sessions, e); err != nil {
			break
		}
	}
	if err == nil {
		open.state.set(nil)
		log.Info("ready")
		forgetStart()
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			err = cause
		}
	}
	open.state.set(errDraining)
	log.Info("draining", "at most", drainTimeout)
	drain()
	if !waitFor(&sessions, drainTimeout) {
		log.Warn("some sessions did not end in time; their connections are cut", "after", drainTimeout)
	}
	return err
}

// applyRoutes makes the default virtual host hold what the routes file says.
func applyRoutes(ctx context.Context, b *broker.Broker, changes []topology.Change, log *slog.Logger) error {
	host, ok := b.VHost(broker.DefaultVHost)
	if !ok {
		return fmt.Errorf("virtual host %q is not there", broker.DefaultVHost)
	}
	report, err := topology.Apply(ctx, host.Router, changes)
	for _, kept := range report.Kept {
		log.Warn("kept: " + kept)
	}
	if err != nil {
		return err
	}
	log.Info("routes applied", "declared", report.Declared, "deleted", report.Deleted, "kept", len(report.Kept))
	return nil
}

// newLogin returns what adapters let peers in with: the credentials first, then the virtual host.
func newLogin(users *auth.Users, b *broker.Broker) func(context.Context, auth.Credentials, string) (*router.Router, auth.Identity, error) {
	return func(_ context.Context, c auth.Credentials, vhost string) (*router.Router, auth.Identity, error) {
		identity, err := users.Authenticate(c)
		if err != nil {
			return nil, auth.Identity{}, err
		}
		host, ok := b.VHost(vhost)
		if !ok {
			return nil, identity, fmt.Errorf("virtual host %q is not there", vhost)
		}
		return host.Router, identity, nil
	}
}

func mqttLimits(g config.Gateway) mqtt.Limits {
	m := g.MQTT
	return mqtt.Limits{
		Handshake: g.Limits.Handshake, PacketSize: int(g.Limits.MessageSize), Inflight: m.Inflight, ReceiveMaximum: m.ReceiveMaximum,
		TopicAliases: m.TopicAliases, Filters: m.Filters, Levels: m.Levels, SessionExpiry: m.SessionExpiry, KeepAlive: m.KeepAlive,
		ConnectRate: m.ConnectRate, PerAddress: m.ConnectionsPerAddress,
	}
}

func mqttHosts(b *broker.Broker) func(string) (mqtt.Host, bool) {
	return func(vhost string) (mqtt.Host, bool) {
		host, ok := b.VHost(vhost)
		if !ok {
			return mqtt.Host{}, false
		}
		return mqtt.Host{Router: host.Router, Retained: host.Retained, Replies: host.Replies}, true
	}
}

// syncOf is the log's word for that of the file.
func syncOf(s config.Sync) wal.Sync {
	switch s {
	case config.SyncInterval:
		return wal.SyncInterval
	case config.SyncNever:
		return wal.SyncNever
	}
	return wal.SyncAlways
}

func newLogger(c config.Log, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.JSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// waitFor waits for group, at most that long, and reports whether it was done.
func waitFor(group *sync.WaitGroup, limit time.Duration) bool {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
