package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// talk sends STOMP frames, in which ^ stands for the end of one, and returns what comes back up to and including a text.
func (r *running) talk(until string, frames ...string) string {
	r.Helper()
	conn, err := net.Dial("tcp", r.address("stomp"))
	if err != nil {
		r.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		r.Fatal(err)
	}
	all := "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n\n^" + strings.Join(frames, "")
	if _, err := conn.Write([]byte(strings.ReplaceAll(all, "^", "\x00"))); err != nil {
		r.Fatal(err)
	}
	var heard strings.Builder
	for in := bufio.NewReader(conn); !strings.Contains(heard.String(), until); {
		b, err := in.ReadByte()
		if err != nil {
			r.Fatalf("waiting for %q: %v after %q", until, err, heard.String())
		}
		heard.WriteByte(b)
	}
	return heard.String()
}

// publish sends durable messages to the queue q and waits until they are safe.
func (r *running) publish(bodies ...string) {
	r.Helper()
	var frames []string
	for _, body := range bodies {
		frames = append(frames, fmt.Sprintf("SEND\ndestination:/queue/q\npersistent:true\nreceipt:%s\n\n%s^", body, body))
	}
	r.talk("receipt-id:"+bodies[len(bodies)-1]+"\n", frames...)
}

// consumed is what comes out of the queue q up to a body, which goes with it.
func (r *running) consumed(last string) string {
	r.Helper()
	return r.talk("\n\n"+last+"\x00", "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:auto\n\n^")
}

func TestBackupOfARunningGatewayStarts(t *testing.T) {
	data, dir := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	g := start(t, data)
	g.publish("one", "two", "three")
	stdout, stderr, code := command(t, "", "log", "backup", dir, "--data", data)
	if code != 0 || !strings.Contains(stdout, "segments") {
		t.Fatalf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	g.publish("four")
	if _, stderr, code := command(t, "", "log", "verify", dir); code != 0 {
		t.Errorf("verify: code %d, stderr %q", code, stderr)
	}
	again := start(t, dir)
	if heard := again.consumed("three"); !strings.Contains(heard, "\n\none\x00") || strings.Contains(heard, "four") {
		t.Errorf("the copy has %q", heard)
	}
	again.drained()
	if heard := g.consumed("four"); !strings.Contains(heard, "\n\none\x00") {
		t.Errorf("the original has %q", heard)
	}
	g.drained()
	if _, err := os.Stat(filepath.Join(data, controlSocket)); err == nil {
		t.Error("the control socket outlives the gateway")
	}
	if strings.Contains(again.stderr.String(), "level=WARN") {
		t.Errorf("the copy starts with a warning: %s", again.stderr.String())
	}
}

func TestBackupOfAStoppedGatewayStarts(t *testing.T) {
	data, dir := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	g := start(t, data)
	g.publish("one", "two")
	g.drained()
	if err := os.WriteFile(filepath.Join(data, controlSocket), nil, 0o600); err != nil { // what a killed one may leave
		t.Fatal(err)
	}
	if _, stderr, code := command(t, "", "log", "backup", "--data", data, dir); code != 0 {
		t.Fatalf("code %d, stderr %q", code, stderr)
	}
	again := start(t, dir)
	again.consumed("two")
	again.drained()
	start(t, data).consumed("two") // and the socket it left is no hindrance
}

func TestBackupRefuses(t *testing.T) {
	data, _ := dataDirectory(t)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "something"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cut := start(t, filepath.Join(t.TempDir(), "cut"))
	cutData := strings.Fields(strings.SplitN(cut.stderr.String(), "data=", 2)[1])[0]
	if err := os.Remove(filepath.Join(cutData, controlSocket)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, stderr string
		args         []string
		code         int
	}{
		{"no directory", "name one directory", []string{"--data", data}, exitUsage},
		{"two directories", "name one directory", []string{"a", "--data", data, "b"}, exitUsage},
		{"an unknown flag", "-bodies", []string{"a", "--bodies"}, exitUsage},
		{"a directory that is not empty", "not empty", []string{full, "--data", data}, exitFailed},
		{"no data", "nowhere", []string{"a", "--data", filepath.Join(full, "nowhere")}, exitFailed},
		{"a gateway it cannot reach", "stop it first", []string{filepath.Join(full, "x"), "--data", cutData}, exitFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, stderr, code := command(t, "", append([]string{"log", "backup"}, test.args...)...); code != test.code || !strings.Contains(stderr, test.stderr) {
				t.Errorf("code %d, stderr %q", code, stderr)
			}
		})
	}
}

func TestGatewayWithoutRoomForASocketSaysSoAndRuns(t *testing.T) {
	data := filepath.Join(t.TempDir(), strings.Repeat("d", maxSocketPath))
	g := start(t, data)
	g.publish("one")
	if !strings.Contains(g.stderr.String(), "no control socket") {
		t.Error("it says nothing of it")
	}
	if _, stderr, code := command(t, "", "log", "backup", "--data", data, filepath.Join(t.TempDir(), "copy")); code != exitFailed || !strings.Contains(stderr, "stop it first") {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
}
