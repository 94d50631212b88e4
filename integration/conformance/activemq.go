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
	"syscall"
	"time"
)

const (
	activeJar  = "/usr/share/activemq/bin/activemq.jar"
	activeStop = 20 * time.Second // after which it is killed
)

// activeSettings is a broker in memory that speaks STOMP on one port.
const activeSettings = `<beans xmlns="http://www.springframework.org/schema/beans" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans-2.0.xsd
  http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" useJmx="false" persistent="false" brokerName="conformance" dataDirectory="%s">
    <transportConnectors><transportConnector name="stomp" uri="stomp://127.0.0.1:%d"/></transportConnectors>
  </broker>
</beans>
`

// startActiveMQ starts Debian's activemq on a free port, with everything it writes below directory.
func startActiveMQ(ctx context.Context, directory string) (*target, error) {
	if _, err := os.Stat(activeJar); err != nil {
		return nil, errors.New("activemq is not installed: apt-get install activemq")
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	home := filepath.Join(directory, "activemq")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(home, "activemq.xml")
	if err := os.WriteFile(file, fmt.Appendf(nil, activeSettings, home, ports[0]), 0o600); err != nil {
		return nil, err
	}
	var log bytes.Buffer
	command := exec.Command("java", "-Xmx256M", "-Dactivemq.home=/usr/share/activemq", "-Dactivemq.base="+home, "-jar", activeJar, "start", "xbean:file:"+file)
	command.Dir, command.Stdout, command.Stderr = home, &log, &log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	t := &target{name: "ActiveMQ", stomp: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0])), stop: func() error {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(activeStop):
			_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
			<-exited
		}
		return nil
	}}
	if err := answers(ctx, t.stomp, exited); err != nil {
		return nil, errors.Join(err, t.stop(), errors.New(log.String()))
	}
	return t, nil
}
