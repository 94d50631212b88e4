package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// readJUnit gathers the verdicts from a report in the form of JUnit, which runners in most languages can write. Tests of
// the same name are one, which passes when all do.
func readJUnit(file string) (map[string]result, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	results := map[string]result{}
	decoder := xml.NewDecoder(f)
	decoder.Strict = false
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return results, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		start, ok := token.(xml.StartElement)
		if !ok || start.Name.Local != "testcase" {
			continue
		}
		var test testCase
		if err := decoder.DecodeElement(&test, &start); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		name, r := test.Class+" "+test.Name, test.result()
		if before, twice := results[name]; twice && (before.verdict == "fail" || r.verdict == "skip") {
			continue
		}
		results[name] = r
	}
}

type testCase struct {
	Class    string   `xml:"classname,attr"`
	Name     string   `xml:"name,attr"`
	Failures []string `xml:"failure"`
	Errors   []string `xml:"error"`
	Skipped  []string `xml:"skipped"`
}

func (t *testCase) result() result {
	switch {
	case len(t.Failures)+len(t.Errors) > 0:
		return result{verdict: "fail", output: strings.Join(append(t.Failures, t.Errors...), "\n") + "\n"}
	case len(t.Skipped) > 0:
		return result{verdict: "skip", output: strings.Join(t.Skipped, "\n") + "\n"}
	}
	return result{verdict: "pass"}
}

// reported runs a program that writes such a report and fails when a test does, and reads it.
func reported(report string, run func() ([]byte, error)) (map[string]result, error) {
	_, failed := run() // tests that fail are results
	results, err := readJUnit(report)
	if err != nil || len(results) == 0 {
		return nil, errors.Join(err, failed)
	}
	return results, nil
}
