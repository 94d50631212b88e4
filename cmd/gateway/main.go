package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-signals
		stop() // politely; whoever signals twice does not want to wait
		<-signals
		fmt.Fprintln(os.Stderr, "gateway: second signal: ending at once")
		os.Exit(exitFailed)
	}()
	os.Exit(exitCode(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr), os.Stderr))
}

// usageError is a mistake on the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// exitCode prints err, if any, and returns what the process ends with.
func exitCode(err error, stderr io.Writer) int {
	var usage *usageError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "gateway: %v\nRun \"gateway help\" for the commands and flags.\n", err)
		return exitUsage
	}
	for _, each := range flatten(err) {
		fmt.Fprintf(stderr, "gateway: %v\n", each)
	}
	return exitFailed
}

// run carries out one command.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		help(stderr)
		return &usageError{"a command is missing"}
	}
	switch command, args := args[0], args[1:]; command {
	case "serve":
		s, err := readSettings(command, args, stdout)
		if err != nil {
			return err
		}
		return serve(ctx, s, stdout, stderr)
	case "check":
		s, err := readSettings(command, args, stdout)
		if err != nil {
			return err
		}
		return check(s, stdout)
	case "log":
		return logCommand(ctx, args, stdin, stdout)
	case "hash-password":
		return hashPassword(stdin, stdout)
	case "version", "--version", "-version":
		fmt.Fprintln(stdout, "gateway", versionText())
		return nil
	case "help", "--help", "-help", "-h":
		help(stdout)
		return nil
	default:
		return &usageError{fmt.Sprintf("there is no command %q", command)}
	}
}

const helpText = `Tridge is a messaging gateway: AMQP 0-9-1, STOMP and MQTT on one durable queue engine.

Usage:

	gateway serve [flags]          start; without any flag: on loopback, data in ./data
	gateway check [flags]          read both files and print every error, as file:line:column: text
	gateway log verify DIR         check every byte of the log of a stopped gateway; DIR is its data directory
	gateway log dump DIR           print its records as lines of JSON; --bodies before DIR adds the messages' bodies
	gateway log repair DIR NEWDIR  write what can be read of a damaged log into a new data directory, and print what is lost
	gateway log backup DIR         copy the data directory, of a running gateway too, to DIR, which must be empty or
	                               missing; --data DIR says what to copy, as for serve
	gateway log export QUEUE       print the messages that wait in a durable queue of a stopped gateway as lines of JSON
	gateway log import QUEUE       append what export printed, from standard input, to a queue of a stopped gateway; --create
	                               declares it when it is not there; --data DIR and --vhost NAME as well, for both
	gateway hash-password          read a password from standard input, print what gateway.yaml takes
	gateway version                print the version
	gateway help                   print this

Flags of serve and check, and the variables of the environment that stand in for them
(a flag wins over the environment, the environment over the file, the file over the default):

`

func help(w io.Writer) {
	fmt.Fprint(w, helpText)
	for _, each := range (&settings{}).options() {
		fmt.Fprintf(w, "	--%-8s %-5s %-16s %s\n", each.flag, each.value, each.variable, each.what)
	}
}
