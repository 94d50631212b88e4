package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// module is the client library whose suite is run.
const module = "github.com/rabbitmq/amqp091-go"

// managementPort is where the suite looks for the management API.
const managementPort = "15672"

// column is what the suites said of one broker.
type column struct {
	name    string
	results map[string]map[string]result // by library and test
	answers map[string]string            // to what is refused
}

type result struct {
	verdict string // pass, fail or skip
	output  string
	need    string // why it is skipped by us, "" when it is not
}

// amqp091 is RabbitMQ's own library for Go. Its suite ships in the module.
func amqp091(pattern string) library {
	return library{
		name: "amqp091-go", language: "Go",
		prepare: func(context.Context, *shelf) (string, error) { return "", nil },
		run: func(ctx context.Context, _, directory string, t *target) (map[string]result, error) {
			return runSuite(ctx, t, directory, pattern)
		},
	}
}

// runSuite runs a copy of the suite in directory against t.
func runSuite(ctx context.Context, t *target, directory, pattern string) (map[string]result, error) {
	if err := copySuite(ctx, directory, t); err != nil {
		return nil, fmt.Errorf("copy the suite: %w", err)
	}
	arguments := []string{"test", "-tags", "integration", "-json", "-count=1", "-timeout", "10m"}
	if pattern != "" {
		arguments = append(arguments, "-run", pattern)
	}
	command := exec.CommandContext(ctx, "go", append(arguments, ".")...)
	command.Dir = directory
	command.Env = append(os.Environ(), "AMQP_URL=amqp://guest:guest@"+t.amqp+"/", "GOFLAGS=-mod=mod")
	var fault bytes.Buffer
	command.Stderr = &fault
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	results, readErr := read(out)
	_ = command.Wait() // tests that fail are results
	if readErr != nil || len(results) == 0 {
		return nil, fmt.Errorf("the suite did not run: %w\n%s", cmp.Or(readErr, ctx.Err()), fault.String())
	}
	return results, nil
}

// read gathers the verdicts from the output of go test -json.
func read(out io.Reader) (map[string]result, error) {
	results := map[string]result{}
	for decoder := json.NewDecoder(out); ; {
		var event struct{ Action, Test, Output string }
		if err := decoder.Decode(&event); err == io.EOF {
			return results, nil
		} else if err != nil {
			return nil, err
		}
		if event.Test == "" {
			continue
		}
		r := results[event.Test]
		switch event.Action {
		case "output":
			r.output += event.Output
		case "pass", "fail", "skip":
			r.verdict = event.Action
		}
		results[event.Test] = r
	}
}

// copySuite copies the module and has it look for the management API where t has it.
func copySuite(ctx context.Context, directory string, t *target) error {
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	out, err := command.Output()
	if err != nil {
		return fmt.Errorf("go mod download %s: %w", module, err)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(t.http)
	if err != nil {
		return err
	}
	return filepath.WalkDir(found.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(found.Dir, path)
		if err != nil {
			return err
		}
		to := filepath.Join(directory, relative)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".go") {
			text = bytes.ReplaceAll(text, []byte("localhost:"+managementPort), []byte(t.http))
			text = bytes.ReplaceAll(text, []byte(`"`+managementPort+`"`), []byte(`"`+port+`"`))
		}
		return os.WriteFile(to, text, 0o644)
	})
}

// regressions are the tests of a library that fail on the first column and not on the second, if there is one.
func regressions(columns []column, library string) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(columns[0].results[library])) {
		if columns[0].results[library][name].verdict != "fail" {
			continue
		}
		if len(columns) > 1 && columns[1].results[library][name].verdict == "fail" {
			continue
		}
		list = append(list, name)
	}
	return list
}

// reportTests writes every test that fails somewhere or has other fates, as a table of Markdown, and with verbose what was
// said by those that fail only here.
func reportTests(w io.Writer, chosen []library, columns []column, verbose bool) {
	any := false
	for _, l := range chosen {
		for _, name := range slices.Sorted(maps.Keys(columns[0].results[l.name])) {
			row, fails, differs := "", false, false
			for _, c := range columns {
				verdict := cmp.Or(c.results[l.name][name].verdict, "-")
				fails, differs = fails || verdict == "fail", differs || verdict != columns[0].results[l.name][name].verdict
				row += " " + verdict + " |"
			}
			if !fails && !differs {
				continue
			}
			if !any {
				any = true
				fmt.Fprint(w, "\n| test that fails or differs |")
				for _, c := range columns {
					fmt.Fprintf(w, " %s |", c.name)
				}
				fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---|", len(columns)))
			}
			fmt.Fprintf(w, "| %s: `%s` |%s\n", l.name, name, row)
		}
	}
	if !verbose {
		return
	}
	for _, l := range chosen {
		for _, name := range regressions(columns, l.name) {
			fmt.Fprintf(w, "\n%s: %s\n%s", l.name, name, columns[0].results[l.name][name].output)
		}
	}
}
