package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	rabbitStart = 2 * time.Minute  // on a small machine under load
	rabbitStop  = 30 * time.Second // after which it is killed
)

// startRabbitMQ starts Debian's rabbitmq-server on free ports, with everything it writes below directory, and waits
// until both its AMQP listener and its management API answer.
func startRabbitMQ(ctx context.Context, directory string) (*target, error) {
	scripts, err := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
	if err != nil || len(scripts) == 0 {
		return nil, errors.New("rabbitmq-server is not installed: apt-get install rabbitmq-server")
	}
	ports, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	amqp, management, distribution, mapper, stomp := ports[0], ports[1], ports[2], ports[3], ports[4]
	home := filepath.Join(directory, "rabbitmq")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	settings := fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = %d\n"+
		"management_agent.disable_metrics_collector = false\ncollect_statistics_interval = 1000\nstomp.listeners.tcp.1 = 127.0.0.1:%d\n", amqp, management, stomp)
	file := filepath.Join(home, "rabbitmq.conf")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		return nil, err
	}
	environment := append(os.Environ(),
		"HOME="+home, "RABBITMQ_NODENAME=conformance-"+strconv.Itoa(os.Getpid())+"@localhost", "RABBITMQ_CONFIG_FILE="+file,
		"RABBITMQ_MNESIA_BASE="+home, "RABBITMQ_LOG_BASE="+home, "RABBITMQ_SCHEMA_DIR="+home, "RABBITMQ_GENERATED_CONFIG_DIR="+home,
		"RABBITMQ_PID_FILE="+filepath.Join(home, "pid"), "RABBITMQ_ENABLED_PLUGINS=rabbitmq_management,rabbitmq_stomp",
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(home, "plugins"), "RABBITMQ_DIST_PORT="+strconv.Itoa(distribution),
		"ERL_EPMD_PORT="+strconv.Itoa(mapper), "ERL_EPMD_ADDRESS=127.0.0.1", "RABBITMQ_LOGS=-",
	)
	var log bytes.Buffer
	command := exec.Command(scripts[len(scripts)-1])
	command.Env, command.Stdout, command.Stderr = environment, &log, &log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the script starts the virtual machine as its child
	if err := command.Start(); err != nil {
		return nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	t := &target{
		name: "RabbitMQ", amqp: net.JoinHostPort("127.0.0.1", strconv.Itoa(amqp)), stomp: net.JoinHostPort("127.0.0.1", strconv.Itoa(stomp)),
		http: net.JoinHostPort("127.0.0.1", strconv.Itoa(management)),
		stop: func() error { return stopRabbitMQ(command, exited, environment) },
	}
	t.control = rabbitmqctl(filepath.Join(filepath.Dir(filepath.Dir(scripts[len(scripts)-1])), "escript", "rabbitmqctl"), environment)
	t.tenant = func(ctx context.Context, vhost string, users ...string) error {
		return tenantOfRabbitMQ(ctx, t.control, vhost, users)
	}
	for _, address := range []string{t.amqp, t.http, t.stomp} {
		if err := answers(ctx, address, exited); err != nil {
			return nil, errors.Join(err, t.stop(), errors.New(log.String()))
		}
	}
	return t, nil
}

// tenantOfRabbitMQ makes a virtual host, and users of it where they are not there yet.
func tenantOfRabbitMQ(ctx context.Context, control controlled, vhost string, users []string) error {
	if _, err := control(ctx, []string{"add_vhost", vhost}); err != nil {
		return err
	}
	for _, user := range append([]string{"guest:guest"}, users...) {
		name, password, _ := strings.Cut(user, ":")
		_, _ = control(ctx, []string{"add_user", name, password}) // or it is there
		if _, err := control(ctx, []string{"set_permissions", "-p", vhost, name, ".*", ".*", ".*"}); err != nil {
			return err
		}
	}
	return nil
}

// answers waits until somebody listens on address.
func answers(ctx context.Context, address string, exited chan error) error {
	ctx, cancel := context.WithTimeout(ctx, rabbitStart)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case err := <-exited:
			exited <- err
			return fmt.Errorf("rabbitmq-server ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("rabbitmq-server does not listen on %s: %w", address, ctx.Err())
		}
	}
}

// stopRabbitMQ ends the broker and the port mapper it has started for itself.
func stopRabbitMQ(command *exec.Cmd, exited <-chan error, environment []string) error {
	group := -command.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(rabbitStop):
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-exited
	}
	mapper := exec.Command("epmd", "-kill")
	mapper.Env = environment
	_ = mapper.Run() // it is gone with the group, or goes now
	return nil
}

// freePorts returns n ports on loopback that nobody listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
