package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startExpiry = 30 * time.Second // recovery of what a test leaves behind is far below it
	stopExpiry  = 10 * time.Second // what the gateway promises for a drain
)

// Protocols are the names of the listeners, as flags and in the gateway's output.
var protocols = []string{"amqp", "stomp", "mqtt", "http"}

// Build compiles the program into directory and returns its path. root is the root of the module.
func Build(ctx context.Context, root, directory string, flags ...string) (string, error) {
	binary := filepath.Join(directory, "gateway")
	arguments := append([]string{"build", "-o", binary}, flags...)
	command := exec.CommandContext(ctx, "go", append(arguments, "./cmd/gateway")...)
	command.Dir = root
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/gateway: %w\n%s", err, out)
	}
	return binary, nil
}

// Options say how to start the program.
type Options struct {
	Binary    string
	Data      string            // data directory
	Arguments []string          // further flags of "gateway serve"
	Addresses map[string]string // by protocol; a free port on loopback where there is none
	NotReady  bool              // do not wait until it is ready
	Patience  time.Duration     // how long it may take to be ready; 30 s when 0
}

// Process is one run of the program.
type Process struct {
	options   Options
	command   *exec.Cmd
	addresses map[string]string
	log       journal
	exited    chan struct{} // closed when err is set
	err       error         // why it exited; nil for exit code 0
}

// Start starts the program and waits until it is ready. When it does not become ready the error holds its log.
func Start(o Options) (*Process, error) {
	arguments := []string{"serve", "--data", o.Data}
	for _, protocol := range protocols {
		address := o.Addresses[protocol]
		if address == "" {
			address = "127.0.0.1:0"
		}
		arguments = append(arguments, "--"+protocol, address)
	}
	p := &Process{options: o, addresses: map[string]string{}, exited: make(chan struct{})}
	p.log.wrote = make(chan struct{}, 1)
	p.command = exec.Command(o.Binary, append(arguments, o.Arguments...)...)
	p.command.Stdout, p.command.Stderr = &p.log, &p.log
	// Whatever becomes of this process, the gateway does not outlive it.
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.spawn(); err != nil {
		return nil, err
	}
	patience := o.Patience
	if patience == 0 {
		patience = startExpiry
	}
	if err := p.wait(patience); err != nil {
		_ = p.Kill()
		return nil, fmt.Errorf("%w\n%s", err, p.Log())
	}
	return p, nil
}

// spawn starts the program from a thread that lives as long as the program: the death signal is sent when the thread
// that started it ends, not when the process does.
func (p *Process) spawn() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.command.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.command.Wait()
		close(p.exited)
	}()
	return <-started
}

// wait waits until every listener has told its address and the gateway says that it is ready.
func (p *Process) wait(limit time.Duration) error {
	deadline := time.After(limit)
	for !p.listening() {
		select {
		case <-p.log.wrote:
		case <-p.exited:
			if p.listening() {
				break
			}
			return fmt.Errorf("the gateway ended before it listened: %v", p.err)
		case <-deadline:
			return errors.New("the gateway does not listen")
		}
	}
	if p.options.NotReady {
		return nil
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !p.Ready() {
		select {
		case <-tick.C:
		case <-p.exited:
			return fmt.Errorf("the gateway ended before it was ready: %v", p.err)
		case <-deadline:
			return errors.New("the gateway does not become ready")
		}
	}
	return nil
}

// listening reads "listening PROTOCOL ADDRESS" from the output.
func (p *Process) listening() bool {
	for line := range strings.Lines(p.log.String()) {
		words := strings.Fields(line)
		if len(words) == 3 && words[0] == "listening" && slices.Contains(protocols, words[1]) {
			p.addresses[words[1]] = words[2]
		}
	}
	return len(p.addresses) == len(protocols)
}

// Ready reports whether GET /readyz answers 200.
func (p *Process) Ready() bool {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + p.HTTP() + "/readyz")
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// AMQP is the address of the AMQP listener, host:port.
func (p *Process) AMQP() string { return p.addresses["amqp"] }

// STOMP is the address of the STOMP listener.
func (p *Process) STOMP() string { return p.addresses["stomp"] }

// MQTT is the address of the MQTT listener.
func (p *Process) MQTT() string { return p.addresses["mqtt"] }

// Address is where a listener is that a configuration file names, like mqtts or ws; "" when there is none.
func (p *Process) Address(name string) string {
	for line := range strings.Lines(p.log.String()) {
		if address, found := strings.CutPrefix(line, "listening "+name+" "); found {
			return strings.TrimSpace(address)
		}
	}
	return ""
}

// HTTP is the address of the admin listener.
func (p *Process) HTTP() string { return p.addresses["http"] }

// Addresses are those of all listeners by protocol, to start again on the same ports.
func (p *Process) Addresses() map[string]string { return p.addresses }

// ID is the process id.
func (p *Process) ID() int { return p.command.Process.Pid }

// Log is everything it has written to standard output and standard error.
func (p *Process) Log() string { return p.log.String() }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Stop asks the process to drain (SIGTERM). It is an error when it does not exit with 0 within 10 seconds.
func (p *Process) Stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended by itself; its exit code decides
	select {
	case <-p.exited:
		if p.err != nil {
			return fmt.Errorf("the gateway did not drain: %w", p.err)
		}
		return nil
	case <-time.After(stopExpiry):
		_ = p.Kill()
		return fmt.Errorf("the gateway did not exit within %v of SIGTERM", stopExpiry)
	}
}

// Kill ends the process at once (SIGKILL) and waits until it is gone. Killing a process that has ended does nothing.
func (p *Process) Kill() error {
	err := p.command.Process.Kill()
	<-p.exited
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Restart starts the program again on the same data and with the same options. The addresses are new ones unless
// samePorts.
func (p *Process) Restart(samePorts bool) (*Process, error) {
	o := p.options
	if samePorts {
		o.Addresses = p.addresses
	}
	return Start(o)
}

// journal gathers the program's output.
type journal struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	select {
	case j.wrote <- struct{}{}:
	default:
	}
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}
