package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"time"

	"tridge/integration/gateway"
)

// options are the command line.
type options struct {
	root     string
	binary   string
	parent   string
	only     string
	size     int
	duration time.Duration
	warmUp   time.Duration
	profiles string
	verbose  bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) error {
	if len(arguments) > 0 && arguments[0] == "backlog" {
		return runBacklog(ctx, arguments[1:], stdout, stderr)
	}
	if len(arguments) > 0 && arguments[0] == "idle" {
		return runIdle(ctx, arguments[1:], stdout, stderr)
	}
	if len(arguments) > 0 && arguments[0] == "bridge" {
		return runBridge(ctx, arguments[1:], stdout, stderr)
	}
	if len(arguments) > 0 && arguments[0] == "devices" {
		return runDevices(ctx, arguments[1:], os.Stdin, stdout, stderr)
	}
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.root, "root", ".", "root of the module, to build the gateway")
	flags.StringVar(&o.binary, "gateway", "", "use this program instead of building one")
	flags.StringVar(&o.parent, "directory", "", "where the data directory is made; the figures of durable messages are those of its disk")
	flags.StringVar(&o.only, "run", "", "only workloads that match this regular expression")
	flags.IntVar(&o.size, "size", 1024, "bytes of a body, at least 16")
	flags.DurationVar(&o.duration, "duration", 5*time.Second, "how long each workload is measured")
	flags.DurationVar(&o.warmUp, "warm-up", time.Second, "how long each workload runs before")
	flags.StringVar(&o.profiles, "profiles", "", "write a CPU profile of the gateway under each workload to this folder")
	flags.BoolVar(&o.verbose, "v", false, "show the gateway's log")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	if o.size < stampSize {
		return fmt.Errorf("-size: a body has at least %d bytes", stampSize)
	}
	directory, err := os.MkdirTemp(o.parent, "tridge-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	if o.binary == "" {
		if o.binary, err = gateway.Build(ctx, o.root, directory); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "%d bytes, %d producers, %d consumers unless said, %v each, data in %s\n\n", o.size, producers, consumers, o.duration, directory)
	fmt.Fprintf(stdout, "%-56s %12s %24s\n", "", "", "gateway, per message")
	fmt.Fprintf(stdout, "%-56s %12s %8s %12s %8s\n", "workload", "messages/s", "CPU µs", "allocations", "bytes")
	for _, w := range workloads() {
		if !only.MatchString(w.name) {
			continue
		}
		f, err := measure(ctx, w, o, filepath.Join(directory, "data"), stderr)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		fmt.Fprintf(stdout, "%-56s %12.0f %8.2f %12.2f %8.0f\n", w.name, f.rate, f.cpu, f.objects, f.bytes)
	}
	return nil
}
