package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"
)

// toolVersions are the values of -V of mosquitto_pub and mosquitto_sub.
var toolVersions = []string{"mqttv31", "mqttv311", "mqttv5"}

// tools has mosquitto_sub receive what mosquitto_pub publishes, at every quality of service: a retained message that
// waits, and one that comes while it listens.
func tools(address, version, prefix string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	for qos := range 3 {
		topic := fmt.Sprintf("%s/%s/%d", prefix, version, qos)
		common := []string{"-h", host, "-p", port, "-V", version, "-q", fmt.Sprint(qos), "-t", topic}
		publish := func(arguments ...string) error {
			return tool("mosquitto_pub", append(common[:len(common):len(common)], arguments...), nil)
		}
		if err := publish("-r", "-m", "kept"); err != nil {
			return err
		}
		var out bytes.Buffer
		listening := make(chan error, 1)
		go func() {
			listening <- tool("mosquitto_sub", append(common[:len(common):len(common)], "-i", prefix+version, "-C", "2", "-F", "%t %q %r %p"), &out)
		}()
		// What is retained comes once it listens; the other is sent until it is there, and one is enough.
		var subscribed error
		for done := false; !done; {
			select {
			case subscribed = <-listening:
				done = true
			case <-time.After(quiet):
				if err := publish("-m", "live"); err != nil {
					return err
				}
			}
		}
		want := fmt.Sprintf("%s %d 1 kept\n%s %d 0 live", topic, qos, topic, qos)
		if got := strings.TrimSpace(out.String()); subscribed != nil || got != want {
			return fmt.Errorf("%s received %q, want %q: %w", version, got, want, subscribed)
		}
		if err := publish("-r", "-n"); err != nil {
			return err
		}
	}
	return nil
}

func tool(name string, arguments []string, out *bytes.Buffer) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, name, arguments...)
	var fault bytes.Buffer
	command.Stderr = &fault
	if out != nil {
		command.Stdout = out
	}
	if err := command.Run(); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", name, err), errors.New(strings.TrimSpace(fault.String())))
	}
	return nil
}
