package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tridge/core/broker"
	"tridge/core/message"
	"tridge/core/router"
)

// filled makes a data directory with a durable queue q that has n messages of all kinds, and another queue.
func filled(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	b, err := broker.Open(broker.Config{Dir: dir, Slog: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	v, _ := b.VHost(broker.DefaultVHost)
	for _, name := range []string{"q", "other"} {
		if _, _, err := v.Router.DeclareQueue(router.QueueSpec{Name: name, Durable: true}, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Router.Bind(router.Binding{Source: "amq.fanout", Destination: name}, 0); err != nil {
			t.Fatal(err)
		}
	}
	p := v.Router.NewPublisher(1)
	for i := range n {
		m := &message.Message{Exchange: "amq.fanout", Key: fmt.Sprint("k\xff", i), Body: []byte{byte(i), 0xff}, Time: int64(1e12 + i),
			Expires: 1 << 50, Priority: uint8(i), Guarantee: message.AtLeastOnce}
		m.Head = message.AppendBytes(message.AppendString(nil, message.ContentType, "text/plain"), message.PrivateAMQP, []byte{0})
		m.Head = message.AppendHeaders(m.Head, message.AppendField(message.AppendStringField(message.Headers(nil), "h", "v"), "n", message.IntValue(int64(i))))
		if i%3 == 0 {
			m.Exchange, m.Key = "", "q"
		}
		if _, _, err := p.Publish(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// snapshot is every file of a directory with its contents.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// exportOf returns what export prints but for the sequence numbers.
func exportOf(t *testing.T, dir, name string) (text, plain string) {
	t.Helper()
	stdout, stderr, code := command(t, "", "log", "export", "--data", dir, name)
	if code != 0 || stderr != "" {
		t.Fatalf("code %d, stderr %q", code, stderr)
	}
	var lines strings.Builder
	for line := range strings.Lines(stdout) {
		if _, rest, found := strings.Cut(line, `,"message":`); found {
			line = rest
		}
		lines.WriteString(line)
	}
	return stdout, lines.String()
}

func TestImportOfAnExportIsTheSame(t *testing.T) {
	from := filled(t, 50)
	before := snapshot(t, from)
	text, plain := exportOf(t, from, "q")
	if fmt.Sprint(before) != fmt.Sprint(snapshot(t, from)) {
		t.Error("export changed the directory")
	}
	if n := strings.Count(text, "\n"); n != 51 {
		t.Fatalf("%d lines", n)
	}
	to := filled(t, 0)
	for _, name := range []string{"q", "new"} {
		args := []string{"log", "import", "--data", to, name}
		if name == "new" {
			args = append(args, "--create")
		}
		if stdout, stderr, code := command(t, text, args...); code != 0 || stdout != "50 of 50 messages imported\n" {
			t.Fatalf("code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
		if _, again := exportOf(t, to, name); strings.Replace(again, `"queue":"new"`, `"queue":"q"`, 1) != plain {
			t.Errorf("%s came back as\n%s\nand was\n%s", name, again, plain)
		}
	}
	if text, _ := exportOf(t, to, "other"); strings.Count(text, "\n") != 1 {
		t.Errorf("another queue has %s", text)
	}
	g := start(t, to)
	g.talk("subscription:0\n", "SUBSCRIBE\nid:0\ndestination:/queue/new\nack:auto\n\n^")
	g.drained()
}

func TestExportAndImportRefuse(t *testing.T) {
	dir := filled(t, 2)
	text, _ := exportOf(t, dir, "q")
	lines := strings.SplitAfter(text, "\n")
	running := filled(t, 1)
	start(t, running)
	for _, test := range []struct {
		name, stdin, stderr string
		args                []string
		code                int
	}{
		{"export of no queue", "", "name one queue", []string{"export", "--data", dir}, exitUsage},
		{"import of two", "", "name one queue", []string{"import", "--data", dir, "a", "b"}, exitUsage},
		{"export of an unknown queue", "", `"nobody"`, []string{"export", "--data", dir, "nobody"}, exitFailed},
		{"export of an unknown vhost", "", `"v"`, []string{"export", "--data", dir, "--vhost", "v", "q"}, exitFailed},
		{"export without log", "", "no data directory", []string{"export", "--data", t.TempDir(), "q"}, exitFailed},
		{"export of a running gateway", "", "stop it first", []string{"export", "--data", running, "q"}, exitFailed},
		{"import into a running gateway", text, "stop it first", []string{"import", "--data", running, "q"}, exitFailed},
		{"import into an unknown queue", text, "--create", []string{"import", "--data", dir, "nobody"}, exitFailed},
		{"import into an unknown vhost", text, `"v"`, []string{"import", "--data", dir, "--vhost", "v", "q"}, exitFailed},
		{"nothing", "", "line 1", []string{"import", "--data", dir, "q"}, exitFailed},
		{"something else", "{}\n", "not what export prints", []string{"import", "--data", dir, "q"}, exitFailed},
		{"a newer export", `{"tridge-export":2}`, "newer", []string{"import", "--data", dir, "q"}, exitFailed},
		{"half an export", lines[0] + lines[1], "after 1 of 2", []string{"import", "--data", dir, "q"}, exitFailed},
		{"more than an export", text + lines[1], "line 4", []string{"import", "--data", dir, "q"}, exitFailed},
		{"a line that is cut", lines[0] + lines[1][:40], "line 2", []string{"import", "--data", dir, "q"}, exitFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, stderr, code := command(t, test.stdin, append([]string{"log"}, test.args...)...)
			if code != test.code || !strings.Contains(stderr, test.stderr) {
				t.Errorf("code %d, stderr %q", code, stderr)
			}
		})
	}
}
