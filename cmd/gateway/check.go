package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"tridge/adapters/amqp"
	"tridge/adapters/mqtt"
	"tridge/adapters/stomp"
	"tridge/config"
	"tridge/core/auth"
	"tridge/core/topology"
	"tridge/transport"
)

// parsers are the words each protocol has for addresses.
func parsers() map[string]topology.ParseAddress {
	return map[string]topology.ParseAddress{"amqp": amqp.ParseAddress, "stomp": stomp.ParseAddress, "mqtt": mqtt.ParseAddress}
}

// files is what both files say, resolved.
type files struct {
	gateway config.Gateway
	users   *auth.Users
	changes []topology.Change // nil without a routes file
}

// readFiles reads both files and returns everything that is wrong with them.
func readFiles(s *settings) (files, error) {
	var f files
	var errs []error
	var err error
	if f.gateway, err = s.gateway(); err != nil {
		errs = append(errs, err)
	}
	if f.users, err = users(f.gateway); err != nil {
		errs = append(errs, err)
	}
	if err := checkCertificates(f.gateway.Listeners); err != nil {
		errs = append(errs, err)
	}
	if s.routes != "" {
		spec, err := config.LoadRoutes(s.routes)
		if err != nil {
			errs = append(errs, err)
		}
		// What could be read is compiled all the same, so that everything wrong is found at once.
		if f.changes, err = topology.Compile(spec, parsers()); err != nil {
			errs = append(errs, err)
		}
	}
	return f, errors.Join(errs...)
}

// users returns who may log in.
func users(g config.Gateway) (*auth.Users, error) {
	var errs []error
	var list []auth.User
	for _, u := range g.Users {
		if u.Name == "" || u.PasswordHash == "" && u.SCRAM == "" {
			continue // reported when the file was read
		}
		list = append(list, auth.User{Name: u.Name, Hash: u.PasswordHash, SCRAM: u.SCRAM})
		if _, err := auth.NewUsers(list[len(list)-1:]); err != nil {
			errs = append(errs, &topology.Error{Where: u.Where, Text: err.Error() + "; \"gateway hash-password\" makes one"})
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return auth.NewUsers(list)
}

// checkCertificates reads the files that listeners name.
func checkCertificates(l config.Listeners) error {
	var errs []error
	told := map[topology.Where]bool{} // several listeners may name one file at one place
	for _, t := range encrypting(l) {
		if t.Certificate.Value == "" || t.Key.Value == "" {
			continue // reported when the file was read
		}
		settings := settingsOf(t)
		for _, err := range flatten(settings.Check()) {
			at := t.Certificate.Where
			if wrong, ok := errors.AsType[*transport.FileError](err); ok {
				switch wrong.File {
				case t.Key.Value:
					at = t.Key.Where
				case t.ClientCA.Value:
					at = t.ClientCA.Where
				}
			}
			if !told[at] {
				told[at] = true
				errs = append(errs, &topology.Error{Where: at, Text: err.Error()})
			}
		}
	}
	return errors.Join(errs...)
}

// check prints everything that is wrong with both files.
func check(s *settings, stdout io.Writer) error {
	if s.config == "" && s.routes == "" {
		return &usageError{"check: name a file with --config or --routes"}
	}
	_, err := readFiles(s)
	errs := flatten(err)
	for _, each := range errs {
		fmt.Fprintln(stdout, each)
	}
	switch len(errs) {
	case 0:
		for _, name := range []string{s.config, s.routes} {
			if name != "" {
				fmt.Fprintf(stdout, "%s: ok\n", name)
			}
		}
		return nil
	case 1:
		return errors.New("1 error")
	}
	return fmt.Errorf("%d errors", len(errs))
}

// flatten returns the errors that err joins: first those without a place, then those of files in order of their lines.
func flatten(err error) []error {
	var list []error
	var add func(error)
	add = func(err error) {
		joined, ok := err.(interface{ Unwrap() []error })
		switch {
		case err == nil:
		case ok:
			for _, each := range joined.Unwrap() {
				add(each)
			}
		default:
			list = append(list, err)
		}
	}
	add(err)
	slices.SortStableFunc(list, func(a, b error) int {
		x, y := place(a), place(b)
		return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column))
	})
	return list
}

// place is where an error of a file stands.
func place(err error) topology.Where {
	var located *topology.Error
	if errors.As(err, &located) {
		return located.Where
	}
	return topology.Where{}
}
