package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// control stands for rabbitmqctl and for the make targets of RabbitMQ's source tree that suites call: a script hands its
// arguments to this process, which knows the broker.
type control struct {
	script string
	server *http.Server
}

// controlled carries out one command: what rabbitmqctl would print.
type controlled func(ctx context.Context, arguments []string) (string, error)

// errNoCommand says that a broker has nothing like a command.
var errNoCommand = errors.New("there is no such command here")

// serveControl writes the script into directory and serves it until close.
func serveControl(t *target, directory string) (*control, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &control{script: filepath.Join(directory, "control.sh"), server: &http.Server{ReadHeaderTimeout: time.Minute}}
	c.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var arguments []string
		if err := json.NewDecoder(r.Body).Decode(&arguments); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out, err := obey(r.Context(), t, arguments)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, out)
	})
	text := fmt.Sprintf("#!/bin/sh\nexec '%s' -control 'http://%s/' -- \"$@\"\n", program, ln.Addr())
	if err := os.WriteFile(c.script, []byte(text), 0o755); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	go func() { _ = c.server.Serve(ln) }() // ends with close
	return c, nil
}

func (c *control) close() { _ = c.server.Close() }

// obey carries out a call of rabbitmqctl or make.
func obey(ctx context.Context, t *target, arguments []string) (string, error) {
	switch {
	case slices.Contains(arguments, "--version"):
		return "GNU Make 4.3\n", nil
	case len(arguments) >= 2 && arguments[0] == "-n": // the node
		return t.control(ctx, slices.DeleteFunc(arguments[2:], func(a string) bool { return a == "-q" }))
	}
	source := ""
	for _, a := range arguments {
		if value, ok := strings.CutPrefix(a, "SOURCE="); ok {
			source = value
		}
	}
	for _, a := range arguments {
		var command []string
		switch a {
		case "stop-node", "stop-rabbit-on-node":
			command = []string{"stop_app"}
		case "start-background-broker", "start-rabbit-on-node":
			command = []string{"start_app"}
		case "set-resource-alarm":
			command = []string{"eval", "rabbit_alarm:set_alarm({{resource_limit, " + source + ", node()}, []})."}
		case "clear-resource-alarm":
			command = []string{"eval", "rabbit_alarm:clear_alarm({resource_limit, " + source + ", node()})."}
		default:
			continue
		}
		if out, err := t.control(ctx, command); err != nil {
			return out, err
		}
	}
	return "", nil
}

// askControl is what the script runs: it prints what the broker answers.
func askControl(address string, arguments []string) error {
	body, err := json.Marshal(arguments)
	if err != nil {
		return err
	}
	answer, err := http.Post(address, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(string(text))
	}
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	return err
}

// rabbitmqctl runs Debian's.
func rabbitmqctl(script string, environment []string) controlled {
	return func(ctx context.Context, arguments []string) (string, error) {
		command := exec.CommandContext(ctx, script, arguments...)
		command.Env = environment
		var out, fault bytes.Buffer
		command.Stdout, command.Stderr = &out, &fault
		if err := command.Run(); err != nil {
			return "", fmt.Errorf("rabbitmqctl %s: %w\n%s", arguments[0], err, fault.String())
		}
		return out.String(), nil
	}
}

// overHTTP carries out what the gateway has in RabbitMQ's HTTP API.
func overHTTP(ctx context.Context, address string, arguments []string) (string, error) {
	if len(arguments) == 0 {
		return "", errNoCommand
	}
	switch command := arguments[0]; {
	case command == "list_connections":
		text, err := askAPI(ctx, address, http.MethodGet, "/api/connections", nil, nil)
		if err != nil {
			return "", err
		}
		var list []map[string]any
		if err := json.Unmarshal(text, &list); err != nil {
			return "", err
		}
		var lines strings.Builder
		for _, c := range list {
			for i, name := range arguments[1:] {
				if i > 0 {
					lines.WriteByte('\t')
				}
				if name == "pid" { // what close_connection takes
					name = "name"
				}
				fmt.Fprint(&lines, c[name])
			}
			lines.WriteByte('\n')
		}
		return lines.String(), nil
	case command == "close_connection" && len(arguments) == 3:
		_, err := askAPI(ctx, address, http.MethodDelete, "/api/connections/"+url.PathEscape(arguments[1]), nil, map[string]string{"X-Reason": arguments[2]})
		return "", err
	case command == "set_policy" && len(arguments) >= 6 && arguments[1] == "--priority":
		body, err := json.Marshal(map[string]any{
			"pattern": arguments[4], "definition": json.RawMessage(arguments[5]), "priority": json.Number(arguments[2]), "apply-to": "all",
		})
		if err != nil {
			return "", err
		}
		_, err = askAPI(ctx, address, http.MethodPut, "/api/policies/%2F/"+url.PathEscape(arguments[3]), body, nil)
		return "", err
	case command == "clear_policy" && len(arguments) == 2:
		_, err := askAPI(ctx, address, http.MethodDelete, "/api/policies/%2F/"+url.PathEscape(arguments[1]), nil, nil)
		return "", err
	}
	return "", fmt.Errorf("%s: %w", arguments[0], errNoCommand)
}

func askAPI(ctx context.Context, address, method, path string, body []byte, header map[string]string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.SetBasicAuth("guest", "guest")
	for name, value := range header {
		request.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, bytes.TrimSpace(text))
	}
	return text, err
}
