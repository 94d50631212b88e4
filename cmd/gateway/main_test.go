package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tridge/config"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// command runs a command that ends by itself.
func command(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs strings.Builder
	code = exitCode(run(t.Context(), args, strings.NewReader(stdin), &out, &errs), &errs)
	return out.String(), errs.String(), code
}

func TestFlagWinsOverEnvironmentOverFileOverDefault(t *testing.T) {
	file := write(t, "gateway.yaml", "data: from-file\nlisteners: {amqp: \"file:1\", stomp: \"file:1\", mqtt: \"file:1\"}\n")
	t.Setenv("GATEWAY_CONFIG", file)
	t.Setenv("GATEWAY_AMQP", "environment:1")
	t.Setenv("GATEWAY_STOMP", "environment:1")
	t.Setenv("GATEWAY_DATA", "") // an empty variable says nothing
	s, err := readSettings("serve", []string{"--amqp", "flag:1"}, &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := s.gateway()
	if err != nil {
		t.Fatal(err)
	}
	l := g.Listeners
	for _, each := range []struct {
		got  []config.Listener
		want string
	}{{l.AMQP, "flag:1"}, {l.STOMP, "environment:1"}, {l.MQTT, "file:1"}, {l.HTTP, config.Default().Listeners.HTTP[0].Address}} {
		if len(each.got) != 1 || each.got[0].Address != each.want {
			t.Errorf("got %+v, want %s", each.got, each.want)
		}
	}
	if g.Data != "from-file" {
		t.Errorf("got %s", g.Data)
	}
}

func TestEverySettingHasAVariable(t *testing.T) {
	for _, o := range (&settings{}).options() {
		t.Setenv(o.variable, "localhost:"+"7")
	}
	s, err := readSettings("serve", nil, &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range s.options() {
		if *o.into != "localhost:7" {
			t.Errorf("%s is %q", o.variable, *o.into)
		}
		if want := "GATEWAY_" + strings.ToUpper(o.flag); o.variable != want {
			t.Errorf("--%s has %s, want %s", o.flag, o.variable, want)
		}
	}
}

func TestCheckPrintsEveryErrorWithItsPlace(t *testing.T) {
	gateway := write(t, "gateway.yaml", "data: 7\nusers: [{name: alice, password-hash: x}]\n")
	routes := write(t, "routes.yaml", `routes:
  - {from: "mqtt:a/#/b", to: "amqp:queue/nowhere"}
  - {from: "stomp:nonsense", to: "queue:q"}
queues:
  - {name: q, tll: 5}
`)
	stdout, stderr, code := command(t, "", "check", "--config", gateway, "--routes", routes)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	want := []string{
		gateway + `:1:7: this should be text, not the number 7; write it in quotes`,
		gateway + `:2:9: auth: user "alice"`,
		routes + `:2:12: "mqtt:a/#/b"`,
		routes + `:2:30: queue "nowhere" is not declared under "queues"`,
		routes + `:3:12: "stomp:nonsense"`,
		routes + `:5:15: unknown key "tll"`,
	}
	if code != exitFailed || stderr != "gateway: 6 errors\n" || len(lines) != len(want) {
		t.Fatalf("code %d, stderr %q, stdout\n%s", code, stderr, stdout)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("line %d is\n%s, want\n%s", i+1, lines[i], want[i])
		}
	}
}

func TestShippedRoutesAreRight(t *testing.T) {
	file := filepath.Join("..", "..", "routes.yaml")
	if stdout, stderr, code := command(t, "", "check", "--routes", file); code != 0 || stdout != file+": ok\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		name           string
		args           []string
		stdin          string
		stdout, stderr string // parts
		code           int
	}{
		{name: "no command", stderr: "a command is missing", code: exitUsage},
		{name: "help", args: []string{"help"}, stdout: "GATEWAY_ROUTES"},
		{name: "help of a command", args: []string{"serve", "-h"}, stdout: "GATEWAY_ROUTES"},
		{name: "version", args: []string{"version"}, stdout: "gateway "},
		{name: "unknown command", args: []string{"start"}, stderr: `there is no command "start"`, code: exitUsage},
		{name: "unknown flag", args: []string{"serve", "--amq", "x"}, stderr: "-amq", code: exitUsage},
		{name: "argument left over", args: []string{"check", "routes.yaml"}, stderr: `unexpected argument "routes.yaml"`, code: exitUsage},
		{name: "flag without a value", args: []string{"serve", "--data", ""}, stderr: "--data needs a value", code: exitUsage},
		{name: "not an address", args: []string{"serve", "--mqtt", "1883"}, stderr: `--mqtt: "1883" is not an address`, code: exitUsage},
		{name: "nothing to check", args: []string{"check"}, stderr: "--config or --routes", code: exitUsage},
		{name: "missing file", args: []string{"check", "--routes", "nowhere.yaml"}, stdout: "nowhere.yaml", stderr: "1 error", code: exitFailed},
		{name: "no password", args: []string{"hash-password"}, stdin: "\n", stderr: "no password", code: exitFailed},
		{name: "long password", args: []string{"hash-password"}, stdin: strings.Repeat("x", maxPassword+1), stderr: "more than", code: exitFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, code := command(t, test.stdin, test.args...)
			if code != test.code || !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) {
				t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		})
	}
}
