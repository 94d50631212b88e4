package integration

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tridge/integration/gateway"
)

// command is a program that runs beside the test.
type command struct {
	process *exec.Cmd
	out     bytes.Buffer
	fault   bytes.Buffer
}

// begin starts a program from the command line; input goes to its standard input.
func begin(t *testing.T, input, program string, arguments ...string) *command {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	c := &command{process: exec.CommandContext(ctx, tool(t, program), arguments...)}
	c.process.Stdin, c.process.Stdout, c.process.Stderr = strings.NewReader(input), &c.out, &c.fault
	c.process.WaitDelay = time.Second
	if err := c.process.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// end waits for the program and returns what it printed.
func (c *command) end(t *testing.T) string {
	t.Helper()
	if err := c.process.Wait(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(c.process.Args, " "), err, c.out.String(), c.fault.String())
	}
	return c.out.String()
}

// shell runs a program from the command line.
func shell(t *testing.T, input, program string, arguments ...string) string {
	t.Helper()
	return begin(t, input, program, arguments...).end(t)
}

// amqpTool runs one of amqp-tools.
func amqpTool(t *testing.T, g *gateway.Process, input, program string, arguments ...string) string {
	t.Helper()
	return shell(t, input, program, append([]string{"--url", "amqp://guest:guest@" + g.AMQP()}, arguments...)...)
}

// mosquitto returns the arguments that every mosquitto client needs.
func mosquitto(t *testing.T, g *gateway.Process, arguments ...string) []string {
	t.Helper()
	host, port, err := net.SplitHostPort(g.MQTT())
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{"-h", host, "-p", port}, arguments...)
}

// TestAMQPTools walks through the five programs of amqp-tools.
func TestAMQPTools(t *testing.T) {
	g := shared(t)
	queue := name("tools")
	if got := strings.TrimSpace(amqpTool(t, g, "", "amqp-declare-queue", "--queue", queue, "--durable")); got != queue {
		t.Errorf("amqp-declare-queue printed %q", got)
	}
	amqpTool(t, g, "", "amqp-publish", "--routing-key", queue, "--persistent", "--content-type", "text/plain", "--body", "first")
	amqpTool(t, g, "second\nthird\n", "amqp-publish", "--routing-key", queue, "--persistent", "--line-buffered")
	if got := amqpTool(t, g, "", "amqp-get", "--queue", queue); got != "first" {
		t.Errorf("amqp-get printed %q", got)
	}
	if got := amqpTool(t, g, "", "amqp-consume", "--queue", queue, "--count", "2", "cat"); got != "second\nthird\n" {
		t.Errorf("amqp-consume printed %q", got)
	}
	// Everything is acknowledged: there is nothing to get, which the program says with its exit code.
	empty := exec.Command(tool(t, "amqp-get"), "--url", "amqp://guest:guest@"+g.AMQP(), "--queue", queue)
	if err := empty.Run(); empty.ProcessState.ExitCode() != 2 {
		t.Errorf("amqp-get from an empty queue: %v", err)
	}
	amqpTool(t, g, "", "amqp-publish", "--routing-key", queue, "--body", "left")
	if got := strings.TrimSpace(amqpTool(t, g, "", "amqp-delete-queue", "--queue", queue)); got != "1" {
		t.Errorf("amqp-delete-queue said that %q messages were left, want 1", got)
	}
}

// TestMosquittoTools: both programs, in 3.1.1 and 5.
func TestMosquittoTools(t *testing.T) {
	g := shared(t)
	for _, version := range []string{"311", "5"} {
		t.Run(version, func(t *testing.T) {
			topic := "tools/" + name("mosquitto")
			for _, qos := range []string{"0", "1", "2"} {
				// A retained message decides the race between the two programs.
				shell(t, "", "mosquitto_pub", mosquitto(t, g, "-V", version, "-t", topic+"/"+qos, "-q", qos, "-r", "-m", "qos "+qos)...)
			}
			got := shell(t, "", "mosquitto_sub", mosquitto(t, g, "-V", version, "-t", topic+"/+", "-q", "2", "-C", "3", "-F", "%t %q %r %p")...)
			for _, qos := range []string{"0", "1", "2"} {
				if want := topic + "/" + qos + " " + qos + " 1 qos " + qos + "\n"; !strings.Contains(got, want) {
					t.Errorf("mosquitto_sub printed %q, want %q in it", got, want)
				}
			}
		})
	}
}

// TestAReadingReachesTheWorkQueue is the tour of the README: mosquitto_pub, amqp-consume, and a STOMP client, over
// the shipped routes.
func TestAReadingReachesTheWorkQueue(t *testing.T) {
	g := start(t, "--routes", filepath.Join("..", "routes.yaml"))
	legacy := newSTOMP(t, g, stomp12)
	legacy.subscribe(t, "/topic/legacy.temperature")
	shell(t, "", "mosquitto_pub", mosquitto(t, g, "-t", "sensors/kitchen/temperature", "-q", "1", "-m", "21.5")...)
	if got := amqpTool(t, g, "", "amqp-consume", "--queue", "readings", "--count", "1", "cat"); got != "21.5" {
		t.Errorf("amqp-consume printed %q", got)
	}
	if got := legacy.receive(t); string(got.body) != "21.5" {
		t.Errorf("STOMP was shown %q", got.body)
	}
	stop(t, g)
}

// TestToolsMeetAcrossProtocols: what one program publishes the other one's protocol receives, both ways.
func TestToolsMeetAcrossProtocols(t *testing.T) {
	g := shared(t)
	key := "tools." + name("meet")
	queue := name("meet")
	a := newAMQP(t, g)
	a.declare(t, queue)
	if err := a.channel.QueueBind(queue, key, topicExchange, false, nil); err != nil {
		t.Fatal(err)
	}
	shell(t, "", "mosquitto_pub", mosquitto(t, g, "-V", "5", "-t", topicOf(key), "-q", "1", "-m", "from mosquitto")...)
	if got := amqpTool(t, g, "", "amqp-get", "--queue", queue); got != "from mosquitto" {
		t.Errorf("amqp-get printed %q", got)
	}

	// A session that outlives its connection decides the race between the two programs.
	id := name("tool")
	session := mosquitto(t, g, "-V", "311", "-i", id, "-c", "-t", topicOf(key), "-q", "1")
	shell(t, "", "mosquitto_sub", append(session, "-E")...)
	amqpTool(t, g, "", "amqp-publish", "--exchange", topicExchange, "--routing-key", key, "--persistent", "--body", "from amqp-tools")
	if got := shell(t, "", "mosquitto_sub", append(session, "-C", "1", "-v")...); got != topicOf(key)+" from amqp-tools\n" {
		t.Errorf("mosquitto_sub printed %q", got)
	}
}

// TestMosquittoAsksAMQP: mosquitto_rr waits for the answer of a program that knows AMQP only.
func TestMosquittoAsksAMQP(t *testing.T) {
	g := shared(t)
	key := "tools." + name("service")
	serve := answerAMQP(t, g, key)
	asking := begin(t, "", "mosquitto_rr", mosquitto(t, g, "-V", "5", "-q", "1", "-t", topicOf(key), "-e", "answers/"+name("rr"), "-m", "question")...)
	serve()
	if got := asking.end(t); got != "answer to question\n" {
		t.Errorf("mosquitto_rr printed %q", got)
	}
}

// TestNodeHelloWorld is the work-queue pair of the tutorials, with a restart between sending and receiving.
func TestNodeHelloWorld(t *testing.T) {
	if _, err := os.Stat(filepath.Join("node", "node_modules", "amqplib")); err != nil {
		t.Fatal("amqplib is missing in integration/node: run make deps")
	}
	g := start(t)
	url := "amqp://guest:guest@" + g.AMQP()
	if got := shell(t, "", "node", filepath.Join("node", "send.js"), url, "Hello", "World!"); got != "sent 2\n" {
		t.Errorf("send.js printed %q", got)
	}
	stop(t, g)
	g = restart(t, g)
	got := shell(t, "", "node", filepath.Join("node", "receive.js"), url, "2")
	if want := "received Hello 2 false\nreceived World! 2 false\n"; got != want {
		t.Errorf("receive.js printed %q, want %q", got, want)
	}
	stop(t, g)
}
