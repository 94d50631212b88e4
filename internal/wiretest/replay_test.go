package wiretest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// echo says every line back in capitals, closes on "quit" and after ten seconds of silence.
func echo(ctx context.Context, c net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	in := bufio.NewReader(c)
	for {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		text, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		if string(text) == "quit\n" {
			return nil
		}
		if _, err := fmt.Fprintf(c, "%s%d\n", bytes.ToUpper(text), 1+len(text)); err != nil {
			return err
		}
	}
}

func conversation() Conversation {
	return Conversation{
		NewServer: func(*testing.T) (Server, func()) { return echo, func() {} },
		Cut:       func(sent []byte) int { return 1 + bytes.IndexByte(sent, '\n') },
	}
}

func TestReplayComparesEachAnswer(t *testing.T) {
	conversation().Replay(t, filepath.Join("testdata", "echo.txt"))
}

func TestReplayPlaysTimeOutsInVirtualTime(t *testing.T) {
	conversation().Replay(t, filepath.Join("testdata", "silence.txt"))
}

func TestRewriteWritesWhatTheServerSays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fresh.txt")
	if err := os.WriteFile(path, []byte("# greeting\nC: \"ab\\n\"\nT: 10s\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := *rewrite
	*rewrite = true
	defer func() { *rewrite = before }()
	conversation().Replay(t, path)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "# greeting\nC: \"ab\\n\"\nS: \"AB\\n\"\nS: 34 0a\nT: 10s\nS: close\n"
	if string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBytesSurviveTheirText(t *testing.T) {
	for _, data := range [][]byte{
		nil, {0}, []byte("a"), []byte("CONNECTED\nversion:1.2\n\n\x00"), []byte("AMQP\x00\x00\x09\x01"),
		{0xff, 'a', 'b', 'c', '"', '\\', 0, 1, 'x', 'y'}, []byte("\n\n"), []byte("naïve"),
	} {
		text := formatBytes(data)
		back, err := parseBytes(text)
		if err != nil || !bytes.Equal(back, data) {
			t.Errorf("%q became %s and then %q (%v)", data, text, back, err)
		}
	}
}

func TestBadScriptsNameTheLine(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"unknown speaker", "C: 00\nX: 01\n", "line 2: a line begins with C:, S:, T: or #"},
		{"not bytes", "C: xyz\n", `line 1: "xyz" is neither hexadecimal nor quoted`},
		{"open text", "S: \"abc\n", `line 1: unterminated text: "abc`},
		{"not a time", "T: soon\n", `line 1: time: invalid duration "soon"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := parseScript(c.src); err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
