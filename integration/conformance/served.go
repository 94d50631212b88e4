package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"tridge/integration/gateway"
)

// served is the gateway under test. Suites stop and start it, and make virtual hosts and users, which are in its file.
type served struct {
	directory string
	process   *gateway.Process
	users     []string // NAME:PASSWORD
	vhosts    []string
}

func startGateway(ctx context.Context, directory string) (*target, error) {
	binary, err := gateway.Build(ctx, ".", directory)
	if err != nil {
		return nil, err
	}
	s := &served{directory: directory}
	if err := s.configure(ctx, binary); err != nil {
		return nil, err
	}
	s.process, err = gateway.Start(gateway.Options{
		Binary: binary, Data: filepath.Join(directory, "data"), Arguments: []string{"--config", filepath.Join(directory, "gateway.yaml")},
	})
	if err != nil {
		return nil, err
	}
	t := &target{name: "gateway", amqp: s.process.AMQP(), stomp: s.process.STOMP(), http: s.process.HTTP(), stop: func() error { return s.process.Stop() }}
	t.control = func(ctx context.Context, arguments []string) (string, error) {
		switch {
		case slices.Equal(arguments, []string{"stop_app"}):
			return "", s.process.Stop()
		case slices.Equal(arguments, []string{"start_app"}):
			return "", s.restart()
		}
		return overHTTP(ctx, t.http, arguments)
	}
	t.tenant = func(ctx context.Context, vhost string, users ...string) error {
		s.vhosts = append(s.vhosts, vhost)
		for _, user := range users {
			if !slices.Contains(s.users, user) {
				s.users = append(s.users, user)
			}
		}
		if err := s.configure(ctx, binary); err != nil {
			return err
		}
		if err := s.process.Stop(); err != nil {
			return err
		}
		return s.restart()
	}
	return t, nil
}

func (s *served) restart() (err error) {
	again, err := s.process.Restart(true)
	if err == nil {
		s.process = again
	}
	return err
}

// configure writes the file for the next start.
func (s *served) configure(ctx context.Context, binary string) error {
	var text strings.Builder
	text.WriteString("users:\n")
	for _, user := range s.users {
		name, password, _ := strings.Cut(user, ":")
		hash := exec.CommandContext(ctx, binary, "hash-password")
		hash.Stdin = strings.NewReader(password)
		out, err := hash.Output()
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "  - name: %q\n", name)
		for line := range strings.Lines(string(out)) {
			text.WriteString("    " + line)
		}
	}
	text.WriteString("vhosts:\n")
	for _, vhost := range s.vhosts {
		fmt.Fprintf(&text, "  - {name: %q}\n", vhost)
	}
	return os.WriteFile(filepath.Join(s.directory, "gateway.yaml"), []byte(text.String()), 0o600)
}
