package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"tridge/integration/gateway"
)

func main() {
	peer := flag.String("peer", "", "also run against this peer: rabbitmq")
	pattern := flag.String("run", "", "only tests that match, as go test -run")
	verbose := flag.Bool("v", false, "print what failing tests said")
	protocol := flag.String("protocol", "amqp", "amqp or stomp; with stomp there may be several peers, separated by commas: rabbitmq, activemq")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch *protocol {
	case "amqp":
		err = run(ctx, *peer, *pattern, *verbose, os.Stdout)
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
}

// refusalsOnly, as a pattern, runs no test of the suite.
const refusalsOnly = "^$"

// errFailed says that a test fails that should not.
var errFailed = errors.New("tests fail that should not")

func run(ctx context.Context, peer, pattern string, verbose bool, out io.Writer) error {
	directory, err := os.MkdirTemp("", "tridge-conformance-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)

	starts := []func(context.Context, string) (*target, error){startGateway}
	switch peer {
	case "":
	case "rabbitmq":
		starts = append(starts, startRabbitMQ)
	default:
		return fmt.Errorf("unknown peer %q: there is rabbitmq", peer)
	}
	var columns []column
	for _, start := range starts {
		c, err := try(ctx, start, directory, pattern)
		if err != nil {
			return err
		}
		columns = append(columns, c)
	}
	report(out, columns, verbose)
	if len(columns) > 1 {
		reportRefusals(out, []string{columns[0].name, columns[1].name}, []map[string]string{columns[0].answers, columns[1].answers})
	}
	if len(regressions(columns)) > 0 {
		return errFailed
	}
	return nil
}

// try starts a broker, runs the suite against it and stops it.
func try(ctx context.Context, start func(context.Context, string) (*target, error), directory, pattern string) (column, error) {
	t, err := start(ctx, directory)
	if err != nil {
		return column{}, err
	}
	c := column{name: t.name}
	if pattern != refusalsOnly {
		c.results, err = runSuite(ctx, t, filepath.Join(directory, "suite-"+t.name), pattern)
	}
	if err == nil {
		c.answers, err = ask(t)
	}
	return c, errors.Join(err, t.stop())
}

func startGateway(ctx context.Context, directory string) (*target, error) {
	binary, err := gateway.Build(ctx, ".", directory)
	if err != nil {
		return nil, err
	}
	p, err := gateway.Start(gateway.Options{Binary: binary, Data: filepath.Join(directory, "data")})
	if err != nil {
		return nil, err
	}
	return &target{name: "gateway", amqp: p.AMQP(), stomp: p.STOMP(), http: p.HTTP(), stop: p.Stop}, nil
}
