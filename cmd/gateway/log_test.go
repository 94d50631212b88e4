package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tridge/core/broker"
	"tridge/core/message"
	"tridge/core/queue"
	"tridge/core/wal"
	"tridge/internal/vfs"
)

// nothing is a recovery that is told of what nobody asked for.
type nothing struct{}

func (nothing) Row(queue.Row, queue.Pos) error                { return nil }
func (nothing) Message(queue.Pos, queue.Info, []uint32) error { return nil }

// dataDirectory makes a data directory whose log has one message.
func dataDirectory(t *testing.T) (dir string, at queue.Pos) {
	t.Helper()
	dir = t.TempDir()
	l, err := wal.Open(vfs.OS{}, filepath.Join(dir, "log"), wal.Options{SegmentSize: 1 << 16}, nothing{})
	if err != nil {
		t.Fatal(err)
	}
	at, _, err = l.Append(&message.Message{Key: "q", Body: []byte("hello"), Guarantee: message.AtLeastOnce}, []uint32{1})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, at
}

func TestLogVerifyTellsSoundFromDamaged(t *testing.T) {
	dir, at := dataDirectory(t)
	stdout, stderr, code := command(t, "", "log", "verify", dir)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "00000001.log: version 3, ") || !strings.Contains(stdout, "1 messages, sealed, with index\n") {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	path := filepath.Join(dir, "log", "00000001.log")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at.Offset+at.Size-1] ^= 1
	if err := os.WriteFile(path, data, 0o640); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code = command(t, "", "log", "verify", filepath.Join(dir, "log"))
	if code != exitFailed || !strings.Contains(stdout, "00000001.log: damaged: ") || stderr != "gateway: log verify: 1 of 1 segments damaged\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(data) {
		t.Error("verify changed the segment", err)
	}
}

func TestLogRepairWritesADirectoryThatStarts(t *testing.T) {
	dir, at := dataDirectory(t)
	damaged := filepath.Join(dir, "log", "00000001.log")
	data, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "new")
	stdout, stderr, code := command(t, "", "log", "repair", dir, to)
	if code != 0 || stderr != "" || stdout != "nothing was damaged\nwritten to "+to+": gateway serve --data "+to+"\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	data[at.Offset+at.Size-1] ^= 1
	if err := os.WriteFile(damaged, data, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code = command(t, "", "log", "repair", dir, to); code != exitFailed || !strings.Contains(stderr, "not empty") {
		t.Errorf("over another: code %d, stderr %q", code, stderr)
	}
	to = t.TempDir() // there, and empty
	stdout, _, code = command(t, "", "log", "repair", dir, to)
	want := fmt.Sprintf("00000001.log: bytes %d to ", at.Offset)
	if code != 0 || !strings.HasPrefix(stdout, want) || !strings.Contains(stdout, "1 parts lost, 1 messages in them\n") {
		t.Errorf("code %d, stdout %q, want %q", code, stdout, want)
	}
	if stdout, stderr, code = command(t, "", "log", "verify", to); code != 0 {
		t.Errorf("the new log: code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	b, err := broker.Open(broker.Config{Dir: to, Slog: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr, code = command(t, "", "log", "repair", to, filepath.Join(dir, "other")); code != exitFailed || !strings.Contains(stderr, "stop it first") {
		t.Errorf("of a running gateway: code %d, stderr %q", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "other")); err == nil {
		t.Error("a repair that was refused has made its directory")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLogDumpPrintsRecordsAsLinesOfJSON(t *testing.T) {
	dir, at := dataDirectory(t)
	for _, bodies := range []bool{false, true} {
		args := []string{"log", "dump", dir}
		want := ""
		if bodies {
			args, want = []string{"log", "dump", "--bodies", dir}, "hello"
		}
		stdout, stderr, code := command(t, "", args...)
		if code != 0 {
			t.Fatalf("code %d, stderr %q", code, stderr)
		}
		found := false
		for line := range strings.Lines(stdout) {
			var r wal.Record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%v in %q", err, line)
			}
			if r.Type == "message" {
				found = r.Seq == at.Seq && r.Offset == at.Offset && r.Message.Bytes == 5 && string(r.Message.Body) == want
			}
		}
		if !found {
			t.Errorf("the message is not in\n%s", stdout)
		}
	}
}

func TestLogRefusesWhatItCannotLookAt(t *testing.T) {
	dir, _ := dataDirectory(t)
	l, err := wal.Open(vfs.OS{}, filepath.Join(dir, "log"), wal.Options{SegmentSize: 1 << 16}, nothing{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	missing := filepath.Join(t.TempDir(), "nowhere")
	for _, test := range []struct {
		name, stderr string
		args         []string
		code         int
	}{
		{"a running gateway", "stop it first", []string{"verify", dir}, exitFailed},
		{"a running gateway's dump", "stop it first", []string{"dump", dir}, exitFailed},
		{"no directory", "nowhere", []string{"verify", missing}, exitFailed},
		{"a directory without log", "no segment", []string{"dump", t.TempDir()}, exitFailed},
		{"nothing to do", "is missing", nil, exitUsage},
		{"an unknown command", `no "mend"`, []string{"mend", dir}, exitUsage},
		{"two directories", "one directory", []string{"verify", dir, dir}, exitUsage},
		{"an unknown flag", "-bodies", []string{"verify", "--bodies", dir}, exitUsage},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, stderr, code := command(t, "", append([]string{"log"}, test.args...)...)
			if code != test.code || !strings.Contains(stderr, test.stderr) {
				t.Errorf("code %d, stderr %q", code, stderr)
			}
		})
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("the missing directory was made")
	}
}

func TestLogRepairSaysWhereMessagesWithoutAQueueAre(t *testing.T) {
	dir, at := dataDirectory(t) // its queue was never declared
	path := filepath.Join(dir, "log")
	l, err := wal.Open(vfs.OS{}, path, wal.Options{SegmentSize: 1 << 16}, nothing{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Append(&message.Message{Key: "q", Body: []byte("lost"), Guarantee: message.AtLeastOnce}, []uint32{1}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(path, "00000002.log")
	data, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	data[at.Offset+at.Size-2] ^= 1
	if err := os.WriteFile(damaged, data, 0o640); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "new")
	stdout, stderr, code := command(t, "", "log", "repair", dir, to)
	if code != 0 || !strings.Contains(stdout, "its 1 messages are in the queue repaired.1 of vhost /\n") {
		t.Fatalf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	stdout, stderr, code = command(t, "", "log", "export", "--data", to, "repaired.1")
	if code != 0 || !strings.Contains(stdout, `"messages":1`) {
		t.Errorf("export: code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}
