package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tridge/integration/gateway"
)

// idler is one kind of peer that has connected and does nothing.
type idler struct {
	name    string
	connect func(g *gateway.Process, i int) (net.Conn, error) // nil when it is gone again and leaves a session
	peers   func(o *idleOptions) int
}

type idleOptions struct {
	options
	connections, sessions int
	settle                time.Duration
}

var idlers = []idler{
	{"MQTT", func(g *gateway.Process, i int) (net.Conn, error) {
		conn, _, err := dialMQTT(g, fmt.Sprintf("idle-%d", i), false)
		return conn, err
	}, func(o *idleOptions) int { return o.connections }},
	{"MQTT, pinged", func(g *gateway.Process, i int) (net.Conn, error) {
		conn, in, err := dialMQTT(g, fmt.Sprintf("idle-%d", i), false)
		if err == nil {
			err = exchange(conn, in, []byte{0xC0, 0}, "\xD0")
		}
		return conn, err
	}, func(o *idleOptions) int { return o.connections }},
	{"MQTT, one filter", func(g *gateway.Process, i int) (net.Conn, error) {
		return subscribed(g, i, false)
	}, func(o *idleOptions) int { return o.connections }},
	{"MQTT over WebSocket", overWebSocket, func(o *idleOptions) int { return o.connections }},
	{"MQTT session, offline", func(g *gateway.Process, i int) (net.Conn, error) {
		conn, err := subscribed(g, i, true)
		if err == nil {
			_, err = conn.Write([]byte{0xE0, 0})
			err = errors.Join(err, conn.Close())
		}
		return nil, err
	}, func(o *idleOptions) int { return o.sessions }},
}

// subscribed is a client with a subscription to a topic of its own.
func subscribed(g *gateway.Process, i int, persistent bool) (net.Conn, error) {
	id := fmt.Sprintf("idle-%d", i)
	conn, in, err := dialMQTT(g, id, persistent)
	if err != nil {
		return nil, err
	}
	if err := subscribe(conn, in, "devices/"+id, 1); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// overWebSocket is a client that has answered with a pong last, as an idle one does.
func overWebSocket(g *gateway.Process, i int) (net.Conn, error) {
	conn, in, err := dial(g.Address("ws"))
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("idle-%d", i)
	const begin = "\x82%s\x00\x00\x00\x00\x10%c\x00\x04MQTT\x04\x02\x00\x00\x00%c%s" // a mask of zeros changes nothing
	_, err = fmt.Fprintf(conn, "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"+begin, string([]byte{byte(0x80 + 14 + len(id))}), 12+len(id), len(id), id)
	for line := "-"; err == nil && line != "\r\n"; {
		line, err = in.ReadString('\n')
	}
	answer := make([]byte, 6)
	if err == nil {
		_, err = io.ReadFull(in, answer)
	}
	if err == nil && string(answer) != "\x82\x04\x20\x02\x00\x00" {
		err = fmt.Errorf("CONNECT: answered with %q", answer)
	}
	if err == nil {
		_, err = conn.Write([]byte("\x8A\x80\x00\x00\x00\x00"))
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func runIdle(ctx context.Context, arguments []string, stdout, stderr io.Writer) error {
	var o idleOptions
	flags := flag.NewFlagSet("bench idle", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.root, "root", ".", "root of the module, to build the gateway")
	flags.StringVar(&o.binary, "gateway", "", "use this program instead of building one")
	flags.StringVar(&o.parent, "directory", "", "where the data directory is made")
	flags.IntVar(&o.connections, "connections", 5_000, "of each kind; as many descriptors are needed here and in the gateway")
	flags.IntVar(&o.sessions, "sessions", 100_000, "whose clients are not there")
	flags.DurationVar(&o.settle, "settle", 5*time.Second, "how long the gateway is left alone before it is measured")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	directory, err := os.MkdirTemp(o.parent, "tridge-idle-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	if o.binary == "" {
		if o.binary, err = gateway.Build(ctx, o.root, directory); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "%-22s %8s %10s %12s %10s\n", "peers", "number", "RSS MiB", "KiB of each", "CPU µs")
	for _, kind := range idlers {
		if err := kind.measure(ctx, &o, filepath.Join(directory, "data"), stdout); err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
	}
	return nil
}

// measure connects the peers to a gateway of its own and prints what each costs it in memory, and to be taken in.
func (k idler) measure(ctx context.Context, o *idleOptions, data string, stdout io.Writer) (err error) {
	configuration := filepath.Join(filepath.Dir(data), "gateway.yaml")
	if err := os.WriteFile(configuration, []byte(`listeners: {ws: "127.0.0.1:0"}`), 0o600); err != nil {
		return err
	}
	g, err := gateway.Start(gateway.Options{Binary: o.binary, Data: data, Arguments: []string{"--config", configuration}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Kill(), os.RemoveAll(data)) }()
	stop := context.AfterFunc(ctx, func() { _ = g.Kill() }) // every connection ends with it
	defer stop()
	before, _, err := g.Memory()
	if err != nil {
		return err
	}
	busy, err := g.CPU()
	if err != nil {
		return err
	}
	n := k.peers(o)
	list, err := k.connectAll(g, n)
	defer func() {
		for _, conn := range list {
			_ = conn.Close()
		}
	}()
	if err != nil {
		return err
	}
	used, err := g.CPU()
	if err != nil {
		return err
	}
	select {
	case <-time.After(o.settle): // what is measured is that nothing happens
	case <-ctx.Done():
		return ctx.Err()
	}
	after, _, err := g.Memory()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%-22s %8d %10.1f %12.2f %10.0f\n", k.name, n, float64(after)/(1<<20), float64(after-before)/1024/float64(n),
		float64((used-busy).Microseconds())/float64(n))
	return err
}

// connectAll connects peers, a few at a time. What it returns is to be closed, also with an error.
func (k idler) connectAll(g *gateway.Process, n int) (list []net.Conn, err error) {
	const atOnce = 16
	var mu sync.Mutex
	var all sync.WaitGroup
	for worker := range atOnce {
		all.Go(func() {
			for i := worker; i < n; i += atOnce {
				conn, failed := k.connect(g, i)
				mu.Lock()
				err = errors.Join(err, failed)
				if conn != nil {
					list = append(list, conn)
				}
				enough := err != nil
				mu.Unlock()
				if enough {
					return
				}
			}
		})
	}
	all.Wait()
	return list, err
}
