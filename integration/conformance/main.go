package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	peer := flag.String("peer", "", "also run against this peer: rabbitmq")
	pattern := flag.String("run", "", "only tests of amqp091-go that match, as go test -run")
	names := flag.String("suite", "", "only these suites, separated by commas; none: only what is refused")
	cache := flag.String("cache", "", "the `folder` that keeps what is fetched; default tridge-conformance in the user's cache")
	toControl := flag.String("control", "", "carry out a command of rabbitmqctl at this `address`: what suites call")
	verbose := flag.Bool("v", false, "print what failing tests said")
	protocol := flag.String("protocol", "amqp", "amqp or stomp; with stomp there may be several peers, separated by commas: rabbitmq, activemq")
	flag.Parse()
	if *toControl != "" {
		if err := askControl(*toControl, flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch *protocol {
	case "amqp":
		err = run(ctx, options{*peer, *pattern, *names, *cache, *verbose}, os.Stdout)
	case "stomp":
		err = runSTOMP(ctx, strings.FieldsFunc(*peer, func(c rune) bool { return c == ',' }), os.Stdout)
	default:
		err = fmt.Errorf("unknown protocol %q: there are amqp and stomp", *protocol)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// target is a broker that the suite runs against.
type target struct {
	name  string
	amqp  string // host:port
	stomp string
	http  string
	stop  func() error

	// control carries out what suites ask of rabbitmqctl.
	control controlled
	// tenant makes a virtual host that users, each as NAME:PASSWORD, may do everything in.
	tenant func(ctx context.Context, vhost string, users ...string) error
}

// amqpPort is where suites look for a broker.
const amqpPort = "5672"

// options are the flags.
type options struct {
	peer, pattern, names, cache string
	verbose                     bool
}

// errFailed says that a test fails that should not.
var errFailed = errors.New("tests fail that should not")

func run(ctx context.Context, o options, out io.Writer) error {
	directory, err := os.MkdirTemp("", "tridge-conformance-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)

	starts := []func(context.Context, string) (*target, error){startGateway}
	switch o.peer {
	case "":
	case "rabbitmq":
		starts = append(starts, startRabbitMQ)
	default:
		return fmt.Errorf("unknown peer %q: there is rabbitmq", o.peer)
	}
	chosen, err := choose(libraries(o.pattern), o.names)
	if err != nil {
		return err
	}
	prepared, err := prepare(ctx, chosen, o.cache, out)
	if err != nil {
		return err
	}
	var columns []column
	var broken error // suites that did not run
	for _, start := range starts {
		c, missing, err := try(ctx, start, directory, chosen, prepared, out)
		if err != nil {
			return errors.Join(err, missing, broken)
		}
		columns, broken = append(columns, c), errors.Join(broken, missing)
	}
	reportLibraries(out, chosen, columns)
	reportTests(out, chosen, columns, o.verbose)
	if len(columns) > 1 {
		reportRefusals(out, []string{columns[0].name, columns[1].name}, []map[string]string{columns[0].answers, columns[1].answers})
	}
	for _, l := range chosen {
		if len(regressions(columns, l.name)) > 0 {
			return errors.Join(errFailed, broken)
		}
	}
	return broken
}

// prepare fetches and builds the suites. The result is where each is.
func prepare(ctx context.Context, chosen []library, cache string, out io.Writer) ([]string, error) {
	s, err := newShelf(cache, out)
	if err != nil {
		return nil, err
	}
	prepared := make([]string, len(chosen))
	for i, l := range chosen {
		if prepared[i], err = l.prepare(ctx, s); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return prepared, nil
}

// try starts a broker, runs the suites against it, telling out of each what came of it, and stops it. A suite that does not
// run costs the others nothing: it is missing.
func try(ctx context.Context, start func(context.Context, string) (*target, error), directory string, chosen []library, prepared []string, out io.Writer) (c column, missing, err error) {
	t, err := start(ctx, directory)
	if err != nil {
		return column{}, nil, err
	}
	c = column{name: t.name, results: map[string]map[string]result{}}
	for i, l := range chosen {
		began := time.Now()
		results, problem := l.try(ctx, prepared[i], directory, t)
		if ctx.Err() != nil {
			return c, missing, errors.Join(problem, t.stop())
		}
		c.results[l.name], missing = results, errors.Join(missing, problem)
		n := counts(results)
		fmt.Fprintf(out, "%s, %s: %d passed, %d failed, %d skipped in %s\n", t.name, l.name, n["pass"], n["fail"], n["skip"], time.Since(began).Round(time.Second))
	}
	c.answers, err = ask(t)
	return c, missing, errors.Join(err, t.stop())
}
