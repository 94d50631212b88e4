package integration

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tridge/integration/gateway"
)

// debianPython is the interpreter that Debian's packages are for; another one may come first in the path.
const debianPython = "/usr/bin/python3"

// TestCelery has a worker of Celery do tasks that are plain, retried, for later, and many at once.
func TestCelery(t *testing.T) {
	if _, err := os.Stat("/usr/lib/python3/dist-packages/celery"); err != nil {
		t.Fatal("python3-celery is missing: run make deps")
	}
	g := start(t)
	worker := celery(g, "-m", "celery", "-A", "tasks", "worker", "--concurrency", "1", "--loglevel", "WARNING")
	var said strings.Builder
	worker.Stdout, worker.Stderr = &said, &said
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- worker.Wait() }()
	out, err := celery(g, "ask.py").CombinedOutput()
	if want := "5\nretries 2\n11 not early\ngroup 2450\n"; err != nil || string(out) != want {
		t.Errorf("%v, got %q, want %q", err, out, want)
	}
	_ = worker.Process.Signal(os.Interrupt) // which is its warm shutdown
	select {
	case <-ended:
	case <-time.After(patience):
		_ = worker.Process.Kill()
		<-ended
	}
	if t.Failed() {
		t.Logf("the worker said:\n%s", said.String())
	}
	stop(t, g)
}

func celery(g *gateway.Process, arguments ...string) *exec.Cmd {
	c := exec.Command(debianPython, arguments...)
	c.Dir = "celery"
	c.Env = append(os.Environ(), "BROKER=amqp://guest:guest@"+g.AMQP()+"//", "PYTHONDONTWRITEBYTECODE=1", "C_FORCE_ROOT=1")
	return c
}
