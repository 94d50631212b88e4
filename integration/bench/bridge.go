package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"tridge/integration/gateway"
)

// bridgeOptions are the command line of "bench bridge".
type bridgeOptions struct {
	options
	devices, processes int
	messages           int // of each device
	interval, settle   time.Duration
	rounds             int // publishes to all devices
}

func runBridge(ctx context.Context, arguments []string, stdout, stderr io.Writer) error {
	var o bridgeOptions
	flags := flag.NewFlagSet("bench bridge", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.root, "root", ".", "root of the module, to build the gateway")
	flags.StringVar(&o.binary, "gateway", "", "use this program instead of building one")
	flags.StringVar(&o.parent, "directory", "", "where the data directory is made")
	flags.IntVar(&o.size, "size", 64, "bytes of a body, at least 16")
	flags.IntVar(&o.devices, "devices", 10_000, "MQTT clients; the gateway needs a descriptor for each")
	flags.IntVar(&o.processes, "processes", 4, "that the devices are spread over: each needs a descriptor for each of its own")
	flags.IntVar(&o.messages, "messages", 20, "that each device publishes")
	flags.DurationVar(&o.interval, "interval", time.Second, "between two messages of a device")
	flags.DurationVar(&o.settle, "settle", 5*time.Second, "how long the gateway is left alone before its memory is measured")
	flags.IntVar(&o.rounds, "rounds", 5, "messages that are published to all devices, one after the other")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if o.size < stampSize || min(o.devices, o.messages, o.rounds) < 1 || o.processes < 1 || o.processes > o.devices {
		return fmt.Errorf("-size is at least %d, -devices, -messages and -rounds at least 1, -processes no more than -devices", stampSize)
	}
	directory, err := os.MkdirTemp(o.parent, "tridge-bridge-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	if o.binary == "" {
		if o.binary, err = gateway.Build(ctx, o.root, directory); err != nil {
			return err
		}
	}
	configuration := filepath.Join(directory, "gateway.yaml")
	if err := os.WriteFile(configuration, fmt.Appendf(nil, "limits:\n  connections: %d\n", o.devices+100), 0o600); err != nil {
		return err
	}
	g, err := gateway.Start(gateway.Options{Binary: o.binary, Data: filepath.Join(directory, "data"), Arguments: []string{"--config", configuration}})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = g.Kill() }) // every connection ends with it
	defer stop()
	b := &bridge{options: o, gateway: g, out: stdout}
	return errors.Join(b.run(ctx), g.Stop())
}

// bridge is one run: devices that publish into a work queue of AMQP, and are published to.
type bridge struct {
	options bridgeOptions
	gateway *gateway.Process
	out     io.Writer
	fleets  []*fleet
}

func (b *bridge) run(ctx context.Context) (err error) {
	o, g := &b.options, b.gateway
	idle, _, err := g.Memory()
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range b.fleets {
			err = errors.Join(err, f.end())
		}
	}()
	for i := range o.processes {
		f, err := startFleet(ctx, g.MQTT(), o, o.devices*i/o.processes, o.devices*(i+1)/o.processes)
		if err != nil {
			return err
		}
		b.fleets = append(b.fleets, f)
	}
	for _, f := range b.fleets {
		if err := f.expect("connected"); err != nil {
			return err
		}
	}
	time.Sleep(o.settle) // what is measured is that nothing happens
	connected, _, err := g.Memory()
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%d idle connections: %.1f MiB, %.2f KiB each\n", o.devices, float64(connected)/(1<<20), float64(connected-idle)/1024/float64(o.devices))
	if err := b.publish(); err != nil {
		return err
	}
	return b.fanOut()
}

// publish has every device publish its messages at QoS 1 into one durable queue that four consumers of AMQP empty.
func (b *bridge) publish() error {
	const workers = 4
	o, g := &b.options, b.gateway
	if err := prepare(g, true); err != nil {
		return err
	}
	l := &load{failure: make(chan error, workers)}
	defer l.close()
	total := o.devices * o.messages
	seen := make([]atomic.Bool, total)
	done := make(chan struct{})
	for i := range workers {
		c, err := amqpConsumer(true)(g, i)
		if err != nil {
			return err
		}
		l.consumers = append(l.consumers, c)
		go func() { l.fail(b.work(c, seen, &l.received, done)) }()
	}
	before, err := g.CPU()
	if err != nil {
		return err
	}
	begun := time.Now()
	for _, f := range b.fleets {
		if err := f.tell("publish"); err != nil {
			return err
		}
	}
	for _, f := range b.fleets {
		if err := f.expect("published"); err != nil {
			return err
		}
	}
	took := time.Since(begun)
	select {
	case <-done:
	case err := <-l.failure:
		return err
	case <-time.After(30 * time.Second):
		return fmt.Errorf("%d of %d confirmed messages arrived", l.received.Load(), total)
	}
	used, err := g.CPU()
	if err != nil {
		return err
	}
	memory, _, err := g.Memory()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(b.out, "%d messages at QoS 1 into one AMQP queue with %d consumers: none lost, none twice; %.0f messages/s, CPU %.2f us each, then %.1f MiB\n",
		total, workers, float64(total)/took.Seconds(), float64((used-before).Microseconds())/float64(total), float64(memory)/(1<<20))
	return err
}

// work is one consumer: it marks what it sees, acknowledges, and closes done with the last message of all.
func (b *bridge) work(c *consumer, seen []atomic.Bool, received *atomic.Uint64, done chan<- struct{}) error {
	var out []byte
	for waiting := 0; ; {
		body, err := c.next(c.in)
		if err != nil {
			return err
		}
		if len(body) != b.options.size {
			return fmt.Errorf("a body of %d bytes arrived", len(body))
		}
		device, n := binary.BigEndian.Uint64(body), binary.BigEndian.Uint64(body[8:])
		if device >= uint64(b.options.devices) || n >= uint64(b.options.messages) {
			return errors.New("a message that nobody sent")
		}
		if seen[device*uint64(b.options.messages)+n].Swap(true) {
			return fmt.Errorf("message %d of device %d came twice", n, device)
		}
		last := received.Add(1) == uint64(len(seen))
		if waiting++; last || waiting == acknowledgeAt || c.in.Buffered() == 0 {
			out, waiting = c.acknowledge(out[:0]), 0
			if _, err := c.conn.Write(out); err != nil {
				return err
			}
		}
		if last {
			close(done)
		}
	}
}

// fanOut publishes to all devices at once and prints how long it takes until the last has it: the median of the rounds.
func (b *bridge) fanOut() error {
	o, g := &b.options, b.gateway
	for _, f := range b.fleets {
		if err := f.tell("subscribe"); err != nil {
			return err
		}
	}
	for _, f := range b.fleets {
		if err := f.expect("subscribed"); err != nil {
			return err
		}
	}
	publisher, err := amqpProducer([2]string{"amq.topic", everyDevice}, true)(g, 0)
	if err != nil {
		return err
	}
	defer publisher.conn.Close()
	used, err := g.CPU()
	if err != nil {
		return err
	}
	var rounds []time.Duration
	for round := range uint64(o.rounds) {
		begun := time.Now()
		if _, err := publisher.conn.Write(publisher.message(nil, round+1, make([]byte, o.size))); err != nil {
			return err
		}
		var last time.Duration
		for _, f := range b.fleets {
			line, err := f.answer("received")
			if err != nil {
				return err
			}
			at, err := strconv.ParseInt(line, 10, 64)
			if err != nil {
				return err
			}
			last = max(last, time.Unix(0, at).Sub(begun))
		}
		rounds = append(rounds, last)
	}
	after, err := g.CPU()
	if err != nil {
		return err
	}
	slices.Sort(rounds)
	_, err = fmt.Fprintf(b.out, "one message to %d subscribers: the last has it after %v (median of %d), CPU %.2f us per delivery\n", o.devices,
		rounds[len(rounds)/2].Round(time.Millisecond), len(rounds), float64((after-used).Microseconds())/float64(o.devices*o.rounds))
	return err
}

// everyDevice is the topic that all devices subscribe to.
const everyDevice = "everybody"

// fleet is a process of devices, seen from here: it is told words and answers in lines.
type fleet struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

// startFleet starts this program anew with its share of the devices.
func startFleet(ctx context.Context, address string, o *bridgeOptions, from, to int) (*fleet, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, program, "devices", "-address", address, "-from", strconv.Itoa(from), "-to", strconv.Itoa(to),
		"-messages", strconv.Itoa(o.messages), "-interval", o.interval.String(), "-size", strconv.Itoa(o.size), "-rounds", strconv.Itoa(o.rounds))
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &fleet{command, in, bufio.NewReader(out)}, command.Start()
}

func (f *fleet) tell(word string) error {
	_, err := io.WriteString(f.in, word+"\n")
	return err
}

func (f *fleet) expect(word string) error {
	_, err := f.answer(word)
	return err
}

// answer reads a line that begins with that word and returns the rest.
func (f *fleet) answer(word string) (string, error) {
	line, err := f.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("devices that should say %s: %w", word, err)
	}
	got, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if got != word {
		return "", fmt.Errorf("devices said %q instead of %s", line, word)
	}
	return rest, nil
}

// end has the devices disconnect: they do when nobody tells them anything any more.
func (f *fleet) end() error {
	return errors.Join(f.in.Close(), f.command.Wait())
}
