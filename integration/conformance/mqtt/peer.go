package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"tridge/integration/gateway"
)

// target is a broker.
type target struct {
	name    string
	address string
	stop    func() error
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
	return &target{"gateway", p.MQTT(), p.Stop}, nil
}

// startMosquitto starts Debian's mosquitto on a free port, with everything it writes below directory.
func startMosquitto(ctx context.Context, directory string) (*target, error) {
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto" // which is not in everybody's path
		if _, err := os.Stat(path); err != nil {
			return nil, errors.New("mosquitto is not installed: apt-get install mosquitto")
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := free.Addr().String()
	_ = free.Close()
	home := filepath.Join(directory, "mosquitto")
	if err := os.MkdirAll(home, 0o777); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	settings := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\npersistence false\nlog_type none\nuser root\n", port)
	file := filepath.Join(home, "mosquitto.conf")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		return nil, err
	}
	command := exec.Command(path, "-c", file)
	command.Dir = home
	if err := command.Start(); err != nil {
		return nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	t := &target{"mosquitto", address, func() error {
		_ = command.Process.Signal(syscall.SIGTERM)
		<-exited
		return nil
	}}
	for deadline := time.Now().Add(patience); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return t, conn.Close()
		}
		select {
		case err := <-exited:
			return nil, fmt.Errorf("mosquitto ended: %w", err)
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), t.stop())
		case <-time.After(10 * time.Millisecond):
			if time.Now().After(deadline) {
				return nil, errors.Join(errors.New("mosquitto does not listen"), t.stop())
			}
		}
	}
}
