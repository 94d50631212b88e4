package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tridge/integration/gateway"
)

// program is the binary under test, built once per run. It is set before the first test and not changed after.
var program string

// patience is how long a test waits for something that should happen at once.
const patience = 15 * time.Second

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	directory, err := os.MkdirTemp("", "tridge-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	var flags []string
	if os.Getenv("GATEWAY_RACE") != "" {
		flags = append(flags, "-race")
	}
	if program, err = gateway.Build(context.Background(), "..", directory, flags...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if p, err := common(); err == nil {
		if err := p.Stop(); err != nil {
			fmt.Fprintf(os.Stderr, "the gateway that the tests share: %v\n%s", err, tail(p.Log()))
			code = 1
		}
	}
	return code
}

// common is the gateway that tests share when they neither stop it nor count what it holds. Its data goes with the
// program.
var common = sync.OnceValues(func() (*gateway.Process, error) {
	return gateway.Start(gateway.Options{Binary: program, Data: filepath.Join(filepath.Dir(program), "shared")})
})

// shared returns the gateway that tests share, and shows the end of its log when the test fails.
func shared(t *testing.T) *gateway.Process {
	t.Helper()
	p, err := common()
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Exited():
		t.Fatalf("the gateway that the tests share is gone:\n%s", tail(p.Log()))
	default:
	}
	showLog(t, p)
	return p
}

// start starts a gateway for one test and kills it at the end, unless the test stopped it before.
func start(t *testing.T, arguments ...string) *gateway.Process {
	t.Helper()
	p, err := gateway.Start(gateway.Options{Binary: program, Data: t.TempDir(), Arguments: arguments})
	return watch(t, p, err)
}

// restart starts the gateway again on the data and the ports of p, which has ended.
func restart(t *testing.T, p *gateway.Process) *gateway.Process {
	t.Helper()
	again, err := p.Restart(true)
	return watch(t, again, err)
}

func watch(t *testing.T, p *gateway.Process, err error) *gateway.Process {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	showLog(t, p)
	return p
}

// stop drains p and fails the test when it does not exit with 0 in time.
func stop(t *testing.T, p *gateway.Process) {
	t.Helper()
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
}

// kill ends p as a power cut would, but for the page cache.
func kill(t *testing.T, p *gateway.Process) {
	t.Helper()
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
}

// showLog shows what the gateway has logged since now when the test fails, and has it fail when the log tells of a
// panic or of a data race (GATEWAY_RACE=1 builds a gateway that looks for them).
func showLog(t *testing.T, p *gateway.Process) {
	before := len(p.Log())
	t.Cleanup(func() {
		for _, word := range []string{"panic:", "DATA RACE"} {
			if _, report, found := strings.Cut(p.Log()[before:], word); found {
				t.Errorf("%s %.4000s", word, report)
			}
		}
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", tail(p.Log()[before:]))
		}
	})
}

// tail is the last lines of a log.
func tail(log string) string {
	lines := strings.Split(log, "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// serial makes names unique within a run.
var serial atomic.Int64

// name returns a name that no other test uses: one word of a routing key.
func name(prefix string) string { return fmt.Sprintf("%s-%d", prefix, serial.Add(1)) }

// eventually waits until condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// next returns the next value of ch.
func next[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v, open := <-ch:
		if !open {
			t.Fatalf("waiting for %s: the connection ended", what)
		}
		return v
	case <-time.After(patience):
		t.Fatalf("not within %v: %s", patience, what)
	}
	panic("unreachable")
}

// tool returns the path of a program that "make deps" installs.
func tool(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is missing: run make deps", program)
	}
	return path
}
