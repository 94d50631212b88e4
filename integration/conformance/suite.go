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

// column is what a run of the suite said.
type column struct {
	name    string
	results map[string]result
	answers map[string]string // to what is refused
}

type result struct {
	verdict string // pass, fail or skip
	output  string
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

// regressions are the tests that fail on the first column and not on the second, if there is one.
func regressions(columns []column) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(columns[0].results)) {
		if columns[0].results[name].verdict != "fail" {
			continue
		}
		if len(columns) > 1 && columns[1].results[name].verdict == "fail" {
			continue
		}
		list = append(list, name)
	}
	return list
}

// report writes the totals and every test that did not pass everywhere, as a table of Markdown.
func report(w io.Writer, columns []column, verbose bool) {
	header, line, totals := "| test |", "|---|", "| total |"
	tests := map[string]bool{}
	for _, c := range columns {
		counts := map[string]int{}
		for name, r := range c.results {
			counts[cmp.Or(r.verdict, "unfinished")]++
			tests[name] = tests[name] || r.verdict != "pass"
		}
		header, line = header+" "+c.name+" |", line+"---|"
		totals += " "
		for i, verdict := range slices.Sorted(maps.Keys(counts)) {
			if i > 0 {
				totals += ", "
			}
			totals += fmt.Sprintf("%d %s", counts[verdict], verdict)
		}
		totals += " |"
	}
	fmt.Fprintf(w, "%s\n%s\n%s\n", header, line, totals)
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		if !tests[name] {
			continue
		}
		row := "| `" + name + "` |"
		for _, c := range columns {
			row += " " + cmp.Or(c.results[name].verdict, "-") + " |"
		}
		fmt.Fprintln(w, row)
	}
	if !verbose {
		return
	}
	for _, name := range regressions(columns) {
		fmt.Fprintf(w, "\n%s\n%s", name, columns[0].results[name].output)
	}
}
