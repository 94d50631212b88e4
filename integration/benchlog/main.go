package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/pprof"
	"slices"
	"time"
)

// options are the command line.
type options struct {
	parent   string
	only     string
	rounds   int
	duration time.Duration
	profile  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "benchlog:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) error {
	var o options
	flags := flag.NewFlagSet("benchlog", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.parent, "directory", "", "where the log is made; the figures are those of its disk")
	flags.StringVar(&o.only, "run", "", "only cases that match this regular expression")
	flags.IntVar(&o.rounds, "rounds", 3, "how often each case is measured")
	flags.DurationVar(&o.duration, "duration", 700*time.Millisecond, "how long log and limit are measured in each round")
	flags.StringVar(&o.profile, "profile", "", "write a CPU profile to this file")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	directory, err := os.MkdirTemp(o.parent, "tridge-benchlog-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	fmt.Fprintf(stdout, "medians of %d rounds of %v, log in %s\n\n", o.rounds, o.duration, directory)
	fmt.Fprintf(stdout, "%-26s %10s %8s %8s %9s %9s %11s %7s %9s %11s\n", "case", "messages/s", "p50 µs", "p99 µs",
		"msg/batch", "KiB/batch", "limit msg/s", "% limit", "CPU µs", "msg/CPU s")
	for _, s := range shapes() {
		if !only.MatchString(s.String()) {
			continue
		}
		var all []figures
		for range o.rounds {
			if err := ctx.Err(); err != nil {
				return err
			}
			f, err := s.measure(directory, o.duration)
			if err != nil {
				return fmt.Errorf("%v: %w", s, err)
			}
			all = append(all, f)
		}
		f := medians(all)
		fmt.Fprintf(stdout, "%-26v %10.0f %8.0f %8.0f %9.1f %9.1f %11.0f %7.0f %9.2f %11.0f\n", s, f.rate,
			f.p50.Seconds()*1e6, f.p99.Seconds()*1e6, f.batch, f.bytes/1024, f.limit, f.share*100, f.cpu*1e6, 1/f.cpu)
	}
	return nil
}

// shapes are the cases, smallest window first.
func shapes() (all []shape) {
	for _, size := range []int{16, 1024} {
		for _, window := range []int{1, 64, 256, 1024} {
			for _, publishers := range []int{1, 4, 16} {
				all = append(all, shape{size, window, publishers})
			}
		}
	}
	return all
}

// figures are what one round of a case came to.
type figures struct {
	rate     float64 // messages confirmed per second
	p50, p99 time.Duration
	batch    float64 // messages in a batch
	bytes    float64 // of a batch
	limit    float64 // messages per second of the bare loop at that batch
	share    float64 // rate over limit
	cpu      float64 // seconds of the log's CPU per message
}

// medians takes each figure by itself. The share is the median of the rounds' own shares: its two halves were measured
// side by side.
func medians(all []figures) figures {
	return figures{
		rate:  median(all, func(f figures) float64 { return f.rate }),
		p50:   median(all, func(f figures) time.Duration { return f.p50 }),
		p99:   median(all, func(f figures) time.Duration { return f.p99 }),
		batch: median(all, func(f figures) float64 { return f.batch }),
		bytes: median(all, func(f figures) float64 { return f.bytes }),
		limit: median(all, func(f figures) float64 { return f.limit }),
		share: median(all, func(f figures) float64 { return f.share }),
		cpu:   median(all, func(f figures) float64 { return f.cpu }),
	}
}

func median[T cmp.Ordered](all []figures, of func(figures) T) T {
	values := make([]T, len(all))
	for i, f := range all {
		values[i] = of(f)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
