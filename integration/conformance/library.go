package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// library is a client library whose suite is run.
type library struct {
	name     string
	language string

	// prepare fetches the suite and builds what has to be built, once, and returns where it is.
	prepare func(ctx context.Context, s *shelf) (string, error)

	// run runs a copy of it in directory, which does not exist yet, against t.
	run func(ctx context.Context, prepared, directory string, t *target) (map[string]result, error)

	limit time.Duration // of a run against one broker; 0 is suiteLimit

	// needs says, by a part of their names, which tests need more than a broker on loopback, and what.
	needs map[string]string
}

// libraries are those whose suites can be fetched. amqp091-go comes first: it needs nothing but Go.
func libraries(pattern string) []library {
	return []library{amqp091(pattern), pika(), pyAMQP(), aiormq(), rabbitMQC(), phpAMQPLib(), phpAMQP(), amqplib(), bunny(), javaClient()}
}

// choose returns the libraries of that names, separated by commas: "" is all, "none" is none.
func choose(all []library, names string) ([]library, error) {
	switch names {
	case "":
		return all, nil
	case "none":
		return nil, nil
	}
	var chosen []library
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(l library) bool { return l.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no suite %q; there are %s", name, strings.Join(libraryNames(all), ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func libraryNames(all []library) []string {
	var names []string
	for _, l := range all {
		names = append(names, l.name)
	}
	return names
}

// suiteLimit is how long a suite may take against one broker: a client that waits for ever must not hold up the others.
const suiteLimit = 10 * time.Minute

// try runs the suite against t. What needs more than t has is taken out of the results and counted as skipped.
func (l *library) try(ctx context.Context, prepared, directory string, t *target) (map[string]result, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(l.limit, suiteLimit))
	defer cancel()
	results, err := l.run(ctx, prepared, filepath.Join(directory, l.name+"-"+t.name), t)
	if err == nil && len(results) == 0 {
		err = fmt.Errorf("no test ran")
	}
	if err != nil {
		return nil, fmt.Errorf("%s against %s: %w", l.name, t.name, err)
	}
	for name, r := range results {
		for part, need := range l.needs {
			if strings.Contains(name, part) {
				results[name] = result{verdict: "skip", output: "needs " + need, need: need}
			}
		}
		if r.verdict == "" {
			results[name] = result{verdict: "fail", output: r.output + "\nit did not end\n"}
		}
	}
	return results, nil
}

// counts is how many tests have which verdict.
func counts(results map[string]result) map[string]int {
	n := map[string]int{}
	for _, r := range results {
		n[r.verdict]++
	}
	return n
}

// reportLibraries writes how many tests of each suite pass, fail and are skipped, and what those not run would need.
func reportLibraries(w io.Writer, chosen []library, columns []column) {
	fmt.Fprint(w, "| suite | language |")
	for _, c := range columns {
		fmt.Fprintf(w, " %s: passed | failed | skipped |", c.name)
	}
	fmt.Fprintf(w, "\n|---|---|%s\n", strings.Repeat("---|---|---|", len(columns)))
	needs := map[string]int{}
	for _, l := range chosen {
		fmt.Fprintf(w, "| %s | %s |", l.name, l.language)
		for i, c := range columns {
			for _, r := range c.results[l.name] {
				if r.need != "" && i == 0 {
					needs[l.name+": "+r.need]++
				}
			}
			n := counts(c.results[l.name])
			fmt.Fprintf(w, " %d | %d | %d |", n["pass"], n["fail"], n["skip"])
		}
		fmt.Fprintln(w)
	}
	for _, need := range slices.Sorted(maps.Keys(needs)) {
		fmt.Fprintf(w, "%d tests need more than a broker on loopback: %s\n", needs[need], need)
	}
}
