package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
)

// attention is how long a conversation waits for what must come, and calm how long it listens for what must not. Brokers that
// answer late in calm pass where they should not: a frame that is asked for afterwards says that they had the time.
const attention = 5 * time.Second

// conversation is a conversation with a broker. It returns when it has gone as the specification, or the family of brokers
// that the clients were written for, has it; else it calls one of the functions of talk that fail.
type conversation struct {
	name string
	run  func(s *room)
}

// room is where a conversation is held: names no other conversation uses, and connections that are closed when it is over.
type room struct {
	address string
	name    string // part of a destination
	open    []net.Conn
}

// failed is why a conversation did not go as it should.
type failed struct{ reason string }

// talk is one connection. Frames are written as texts and read by go-stomp.
type talk struct {
	net.Conn
	in *frame.Reader
}

func fail(format string, arguments ...any) { panic(failed{fmt.Sprintf(format, arguments...)}) }

// dial connects without a word.
func (s *room) dial() *talk {
	conn, err := net.DialTimeout("tcp", s.address, attention)
	if err != nil {
		fail("no connection: %v", err)
	}
	s.open = append(s.open, conn)
	return &talk{conn, frame.NewReader(conn)}
}

// connect shakes hands in that version; more are further headers of CONNECT.
func (s *room) connect(version string, more ...string) *talk {
	c := s.dial()
	c.say("CONNECT", append([]string{"accept-version:" + version, "host:/", "login:guest", "passcode:guest"}, more...)...)
	c.want("CONNECTED", "version:"+version)
	return c
}

// say sends a frame; a last part that begins with a line end is the body.
func (c *talk) say(command string, parts ...string) {
	body := ""
	if n := len(parts) - 1; n >= 0 && strings.HasPrefix(parts[n], "\n") {
		parts, body = parts[:n], parts[n][1:]
	}
	c.raw(command + "\n" + strings.Join(append(parts, "", ""), "\n") + body + "\x00")
}

func (c *talk) raw(bytes string) {
	if _, err := io.WriteString(c, bytes); err != nil {
		fail("connection lost: %v", err)
	}
}

// next returns the next frame, heart-beats left out; nil when the connection has ended.
func (c *talk) next() *frame.Frame {
	_ = c.SetReadDeadline(time.Now().Add(attention))
	for {
		f, err := c.in.Read()
		var network net.Error
		switch {
		case errors.As(err, &network) && network.Timeout():
			fail("nothing came")
		case err != nil:
			return nil
		case f != nil:
			return f
		}
	}
}

// want expects a frame with that command and headers ("name:value"), and returns it.
func (c *talk) want(command string, headers ...string) *frame.Frame {
	f := c.next()
	if f == nil {
		fail("the connection ended, want %s", command)
	}
	if f.Command != command {
		fail("%s %q %.80q, want %s", f.Command, f.Header.Get("message"), f.Body, command)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		if got := f.Header.Get(name); got != value {
			fail("%s has %s:%q, want %q", command, name, got, value)
		}
	}
	return f
}

// message expects a MESSAGE with that body.
func (c *talk) message(body string, headers ...string) *frame.Frame {
	f := c.want("MESSAGE", headers...)
	if string(f.Body) != body {
		fail("body %.80q, want %q", f.Body, body)
	}
	return f
}

// done says a frame and waits for its RECEIPT: what comes in between is returned.
func (c *talk) done(command string, parts ...string) (before []*frame.Frame) {
	c.say(command, append([]string{"receipt:done"}, parts...)...)
	for {
		f := c.next()
		switch {
		case f == nil:
			fail("the connection ended, want a RECEIPT for %s", command)
		case f.Command == "RECEIPT":
			return before
		case f.Command == "ERROR":
			fail("ERROR %q %.80q", f.Header.Get("message"), f.Body)
		}
		before = append(before, f)
	}
}

// quiet expects nothing: a frame that is answered says that the broker had the time.
func (c *talk) quiet() {
	if before := c.done("SEND", "destination:/topic/nobody.listens", "\nx"); len(before) > 0 {
		fail("%s %.80q, want silence", before[0].Command, before[0].Body)
	}
}

// refused expects an ERROR and the end of the connection.
func (c *talk) refused(headers ...string) {
	c.want("ERROR", headers...)
	if f := c.next(); f != nil {
		fail("%s after ERROR, want the end", f.Command)
	}
}

// hold runs a conversation against a broker and says how it went: "" is as it should.
func hold(address string, number int, sc conversation) (reason string) {
	s := &room{address: address, name: fmt.Sprintf("conformance.%d", number)}
	defer func() {
		for _, conn := range s.open {
			_ = conn.Close()
		}
		if why := recover(); why != nil {
			f, ok := why.(failed)
			if !ok {
				panic(why)
			}
			reason = f.reason
		}
	}()
	sc.run(s)
	return ""
}

// program is a client library at work: a script that prints ok.
type program struct {
	name, interpreter, script string
	packages                  string // of Debian, that have what it needs
}

var stompPrograms = []program{
	{"Python's stomp.py", "/usr/bin/python3", "client.py", "python3-stomp"},
	{"Ruby's stomp", "ruby", "client.rb", "ruby-stomp"},
	{"Perl's Net::Stomp", "perl", "client.pl", "libnet-stomp-perl"},
	{"PHP's stomp", "php", "client.php", "php-cli php-stomp"},
}

// programPatience is how long one may take.
const programPatience = time.Minute

// perform runs a program against a broker and says how it went, as hold does.
func perform(ctx context.Context, address string, p program) (reason string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, programPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, p.interpreter, filepath.Join("integration", "conformance", "clients", p.script), host, port, "conformance."+p.script).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err == nil && text == "ok" {
		return ""
	}
	lines := strings.Split(text, "\n")
	return fmt.Sprintf("%.80s (it needs %s)", lines[len(lines)-1], p.packages)
}

// runSTOMP holds every conversation with the gateway and peers, and runs the programs of client libraries. It fails when
// one does not go as it should with the gateway.
func runSTOMP(ctx context.Context, peers []string, out io.Writer) error {
	directory, err := os.MkdirTemp("", "tridge-conformance-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	starts := []func(context.Context, string) (*target, error){startGateway}
	for _, peer := range peers {
		switch peer {
		case "rabbitmq":
			starts = append(starts, startRabbitMQ)
		case "activemq":
			starts = append(starts, startActiveMQ)
		default:
			return fmt.Errorf("unknown peer %q: there are rabbitmq and activemq", peer)
		}
	}
	var names []string
	results := make([][]string, len(stompScenarios)+len(stompPrograms))
	for _, start := range starts {
		t, err := start(ctx, directory)
		if err != nil {
			return err
		}
		names = append(names, t.name)
		for i, sc := range stompScenarios {
			results[i] = append(results[i], hold(t.stomp, i, sc))
		}
		for i, p := range stompPrograms {
			i += len(stompScenarios)
			results[i] = append(results[i], perform(ctx, t.stomp, p))
		}
		if err := t.stop(); err != nil {
			return err
		}
	}
	return reportSTOMP(out, names, results)
}

// reportSTOMP prints a line for each conversation with a column for each broker.
func reportSTOMP(out io.Writer, names []string, results [][]string) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "conversation\t%s\n", strings.Join(names, "\t"))
	passed := make([]int, len(names))
	for i, row := range results {
		name := ""
		if own := i - len(stompScenarios); own < 0 {
			name = stompScenarios[i].name
		} else {
			name = stompPrograms[own].name
		}
		cells := []string{name}
		for column, reason := range row {
			if reason == "" {
				reason = "ok"
				passed[column]++
			}
			cells = append(cells, strings.ReplaceAll(reason, "\t", " "))
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for column, name := range names {
		fmt.Fprintf(out, "%s: %d of %d\n", name, passed[column], len(results))
	}
	if passed[0] < len(results) {
		return errFailed
	}
	return nil
}
