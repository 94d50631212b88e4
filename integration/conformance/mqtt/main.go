package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	peer := flag.String("peer", "", "also run against this peer: mosquitto")
	pattern := flag.String("run", "", "only scenarios whose name matches")
	verbose := flag.Bool("v", false, "print every scenario, not only those that fail somewhere")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *peer, *pattern, *verbose, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// column is what a broker did: by scenario nil or what went wrong, and its answers to single packets.
type column struct {
	name    string
	results map[string]error
	answers map[string]string
}

// errFailed says that a scenario fails that should not.
var errFailed = errors.New("scenarios fail that should not")

func run(ctx context.Context, peer, pattern string, verbose bool, out io.Writer) error {
	only, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	if err := haveNode(); err != nil {
		return err
	}
	starts := []func(context.Context, string) (*target, error){startGateway}
	switch peer {
	case "":
	case "mosquitto":
		starts = append(starts, startMosquitto)
	default:
		return fmt.Errorf("unknown peer %q: there is mosquitto", peer)
	}
	directory, err := os.MkdirTemp("", "tridge-conformance-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	var columns []column
	var names []string
	for _, start := range starts {
		t, err := start(ctx, directory)
		if err != nil {
			return err
		}
		var c column
		c, names = try(ctx, t, only, verbose)
		if err := errors.Join(ctx.Err(), t.stop()); err != nil {
			return err
		}
		columns = append(columns, c)
	}
	if report(out, columns, names, verbose) > 0 {
		return errFailed
	}
	return nil
}

// try plays every scenario with every library on a broker; names are in the order played.
func try(ctx context.Context, t *target, only *regexp.Regexp, verbose bool) (c column, names []string) {
	c = column{name: t.name, results: map[string]error{}, answers: map[string]string{}}
	var n numbers
	play := func(name string, scenario func(prefix string) error) {
		if ctx.Err() != nil || !only.MatchString(name) {
			return
		}
		names = append(names, name)
		start := time.Now()
		c.results[name] = scenario(n.next())
		if verbose {
			fmt.Fprintf(os.Stderr, "%-10s %6.1f s  %s\n", t.name, time.Since(start).Seconds(), name)
		}
	}
	for _, l := range []library{
		{"paho.mqtt.golang 3.1.1", 311, connectPaho3}, {"paho.golang 5.0", 5, connectPaho5},
		{"MQTT.js 3.1.1", 311, connectNode("4")}, {"MQTT.js 5.0", 5, connectNode("5")},
	} {
		for _, scenario := range scenarios() {
			if scenario.five && l.version != 5 {
				continue
			}
			play(l.name+": "+scenario.name, func(prefix string) error {
				s := &stage{address: t.address, library: l, prefix: prefix}
				defer s.close()
				return scenario.play(s)
			})
		}
	}
	for _, version := range toolVersions {
		play("mosquitto_pub and mosquitto_sub: "+version, func(prefix string) error { return tools(t.address, version, prefix) })
	}
	for _, q := range questions() {
		if only.MatchString(q.name) {
			c.answers[q.name] = ask(t.address, q)
		}
	}
	return c, names
}

// report prints the columns and returns how many scenarios fail here and not on the peer.
func report(out io.Writer, columns []column, names []string, verbose bool) (regressions int) {
	passed := make([]int, len(columns))
	for _, name := range names {
		failed := false
		for i, c := range columns {
			if c.results[name] == nil {
				passed[i]++
			} else {
				failed = true
			}
		}
		if columns[0].results[name] != nil && (len(columns) == 1 || columns[1].results[name] == nil) {
			regressions++
		}
		if !failed && !verbose {
			continue
		}
		fmt.Fprintln(out, name)
		for _, c := range columns {
			verdict := "pass"
			if err := c.results[name]; err != nil {
				verdict = "FAIL " + err.Error()
			}
			fmt.Fprintf(out, "    %-10s %s\n", c.name, verdict)
		}
	}
	for i, c := range columns {
		fmt.Fprintf(out, "%-10s %d of %d scenarios pass\n", c.name, passed[i], len(names))
	}
	if len(columns) > 1 {
		compare(out, columns)
	}
	return regressions
}

// compare prints the single packets that the two answer differently.
func compare(out io.Writer, columns []column) {
	alike := 0
	for _, q := range questions() {
		a, asked := columns[0].answers[q.name]
		b := columns[1].answers[q.name]
		switch {
		case !asked:
		case a == b:
			alike++
		default:
			fmt.Fprintf(out, "%-52s %-10s %s\n%-52s %-10s %s\n", q.name, columns[0].name, a, "", columns[1].name, b)
		}
	}
	fmt.Fprintf(out, "%d of %d packets are answered alike\n", alike, len(columns[0].answers))
}
