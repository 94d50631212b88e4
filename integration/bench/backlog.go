package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"tridge/integration/gateway"
)

// backlog is one case: messages that wait while nobody consumes.
type backlog struct {
	queues, each int
	size         int
	window       uint64 // of unconfirmed messages of each producer
}

func (b backlog) messages() int { return b.queues * b.each }

func (b backlog) String() string { return fmt.Sprintf("%d x %d", b.queues, b.each) }

// cost is what moving all messages of a backlog took.
type cost struct {
	rate float64 // messages per second
	cpu  float64 // microseconds of the gateway's CPU per message
}

// account is what a backlog came to.
type account struct {
	fill            cost
	waiting, filled int64 // bytes of RAM when all wait, and at most until then
	first           time.Duration
	served, peak    int64 // after the restart: at the first delivery, and at most until all are drained
	drain           cost
}

const restartPatience = 10 * time.Minute

func runBacklog(ctx context.Context, arguments []string, stdout, stderr io.Writer) error {
	var o options
	var messages, queues, shallow int
	var window uint64
	flags := flag.NewFlagSet("bench backlog", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.root, "root", ".", "root of the module, to build the gateway")
	flags.StringVar(&o.binary, "gateway", "", "use this program instead of building one")
	flags.StringVar(&o.parent, "directory", "", "where the data directory is made: 1.1 GB for a million messages of 1 KiB")
	flags.IntVar(&o.size, "size", 1024, "bytes of a body, at least 16")
	flags.IntVar(&messages, "messages", 200_000, "messages in one queue")
	flags.IntVar(&queues, "queues", 2_000, "queues of a hundred messages each")
	flags.IntVar(&shallow, "shallow", 50_000, "messages of the cases to compare with")
	flags.Uint64Var(&window, "window", 1024, "unconfirmed messages of each producer")
	flags.BoolVar(&o.verbose, "v", false, "show the gateway's log")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	const each = 100
	if o.size < stampSize || window == 0 || min(messages, queues, shallow/each) < producers {
		return errors.New("too few of something")
	}
	directory, err := os.MkdirTemp(o.parent, "tridge-backlog-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	if o.binary == "" {
		if o.binary, err = gateway.Build(ctx, o.root, directory); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "%d bytes, AMQP, persistent, %d producers with %d unconfirmed each, data in %s\n\n", o.size, producers, window, directory)
	fmt.Fprintf(stdout, "%-16s %9s %7s %9s %9s %10s %10s %10s %9s %7s\n", "queues x each", "fill/s", "CPU µs", "RSS MiB",
		"peak MiB", "restart s", "RSS MiB", "peak MiB", "drain/s", "CPU µs")
	for _, b := range []backlog{
		{1, shallow, o.size, window}, {1, messages, o.size, window},
		{shallow / each, each, o.size, window}, {queues, each, o.size, window},
	} {
		a, err := b.measure(ctx, o, filepath.Join(directory, "data"), stderr)
		if err != nil {
			return fmt.Errorf("%v: %w", b, err)
		}
		const MiB = 1 << 20
		fmt.Fprintf(stdout, "%-16v %9.0f %7.2f %9d %9d %10.2f %10d %10d %9.0f %7.2f\n", b, a.fill.rate, a.fill.cpu, a.waiting/MiB,
			a.filled/MiB, a.first.Seconds(), a.served/MiB, a.peak/MiB, a.drain.rate, a.drain.cpu)
	}
	return nil
}

// measure fills, kills, starts again and drains a gateway of its own.
func (b backlog) measure(ctx context.Context, o options, data string, stderr io.Writer) (a account, err error) {
	defer os.RemoveAll(data)
	g, err := gateway.Start(gateway.Options{Binary: o.binary, Data: data, Patience: restartPatience})
	if err != nil {
		return a, err
	}
	defer func() {
		err = errors.Join(err, g.Kill())
		if o.verbose || err != nil {
			fmt.Fprint(stderr, g.Log())
		}
	}()
	filled := g
	stop := context.AfterFunc(ctx, func() { _ = filled.Kill() }) // every connection ends with it
	defer stop()
	if err := b.declare(g); err != nil {
		return a, err
	}
	if a.fill, err = b.costOf(g, func() error { return b.fill(g) }); err != nil {
		return a, err
	}
	if a.waiting, a.filled, err = g.Memory(); err != nil {
		return a, err
	}
	if err := g.Kill(); err != nil {
		return a, err
	}
	begun := time.Now()
	next, err := g.Restart(false)
	if err != nil {
		return a, err // it holds the log
	}
	g = next
	again := context.AfterFunc(ctx, func() { _ = next.Kill() })
	defer again()
	if err := b.look(g); err != nil {
		return a, err
	}
	a.first = time.Since(begun)
	if a.served, _, err = g.Memory(); err != nil {
		return a, err
	}
	drain := b.drainMany
	if b.queues == 1 {
		drain = b.drainOne
	}
	if a.drain, err = b.costOf(g, func() error { return drain(g) }); err != nil {
		return a, err
	}
	_, a.peak, err = g.Memory()
	return a, err
}

// costOf is what f, which moves every message of the backlog once, takes.
func (b backlog) costOf(g *gateway.Process, f func() error) (cost, error) {
	before, err := g.CPU()
	if err != nil {
		return cost{}, err
	}
	begun := time.Now()
	if err := f(); err != nil {
		return cost{}, err
	}
	took := time.Since(begun)
	after, err := g.CPU()
	n := float64(b.messages())
	return cost{rate: n / took.Seconds(), cpu: float64((after - before).Microseconds()) / n}, err
}
