package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"tridge/config"
)

// settings are what the command line and the environment say. "" is not said.
type settings struct {
	config, routes          string // files
	data                    string // directory
	amqp, stomp, mqtt, http string // addresses
}

// option is one setting, where it may come from and what it is.
type option struct {
	flag, value, variable, what string
	into                        *string
}

func (s *settings) options() []option {
	return []option{
		{"config", "FILE", "GATEWAY_CONFIG", "gateway.yaml: users, limits, addresses; without, the defaults", &s.config},
		{"routes", "FILE", "GATEWAY_ROUTES", "routes.yaml: exchanges, queues and routes; without, what the data directory has", &s.routes},
		{"data", "DIR", "GATEWAY_DATA", "the data directory; default ./data", &s.data},
		{"amqp", "ADDR", "GATEWAY_AMQP", "where AMQP 0-9-1 clients connect: HOST:PORT, or off; port 0 picks a free one; default " + config.Default().Listeners.AMQP[0].Address, &s.amqp},
		{"stomp", "ADDR", "GATEWAY_STOMP", "the same for STOMP; default " + config.Default().Listeners.STOMP[0].Address, &s.stomp},
		{"mqtt", "ADDR", "GATEWAY_MQTT", "the same for MQTT; default " + config.Default().Listeners.MQTT[0].Address, &s.mqtt},
		{"http", "ADDR", "GATEWAY_HTTP", "the same for HTTP: /livez, /readyz, /api; default " + config.Default().Listeners.HTTP[0].Address, &s.http},
	}
}

// readSettings reads the flags of a command, and the environment for those that are not given.
func readSettings(command string, args []string, stdout io.Writer) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the caller prints the error, once
	for _, each := range s.options() {
		flags.StringVar(each.into, each.flag, "", each.what)
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		help(stdout)
		return nil, err
	case err != nil:
		return nil, &usageError{fmt.Sprintf("%s: %v", command, err)}
	case flags.NArg() > 0:
		return nil, &usageError{fmt.Sprintf("%s: unexpected argument %q", command, flags.Arg(0))}
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var errs []error
	for _, each := range s.options() {
		source := "--" + each.flag
		if !given[each.flag] {
			*each.into = os.Getenv(each.variable)
			source = each.variable
		} else if *each.into == "" {
			errs = append(errs, &usageError{fmt.Sprintf("%s: %s needs a value", command, source)})
		}
		if each.value == "ADDR" && *each.into != "" {
			if err := config.CheckAddress(*each.into); err != nil {
				errs = append(errs, &usageError{fmt.Sprintf("%s: %v", source, err)})
			}
		}
	}
	return s, errors.Join(errs...)
}

// gateway returns the configuration: the file over the defaults, and what was said here over the file.
func (s *settings) gateway() (config.Gateway, error) {
	g := config.Default()
	if s.config != "" {
		var err error
		if g, err = config.Load(s.config); err != nil {
			return g, err
		}
	}
	if s.data != "" {
		g.Data = s.data
	}
	for _, each := range []struct {
		said string
		into *[]config.Listener
	}{
		{s.amqp, &g.Listeners.AMQP}, {s.stomp, &g.Listeners.STOMP}, {s.mqtt, &g.Listeners.MQTT}, {s.http, &g.Listeners.HTTP},
	} {
		if each.said != "" {
			*each.into = replaced(*each.into, each.said)
		}
	}
	return g, nil
}

// replaced is the one listener that an address said here leaves of a list. What the file says about the first stays.
func replaced(list []config.Listener, address string) []config.Listener {
	if address == config.Off {
		return nil
	}
	l := config.Listener{}
	if len(list) > 0 {
		l = list[0]
	}
	l.Address = address
	return []config.Listener{l}
}
