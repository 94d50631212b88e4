package main

import (
	_ "embed"
	"flag"
	"fmt"
	"os"
)

//go:embed methods.txt
var methods string

func main() {
	out := flag.String("o", "methods_gen.go", "file to write")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	source, err := generate(methods)
	if err != nil {
		return err
	}
	return os.WriteFile(out, source, 0o644)
}

// generate returns the formatted Go source for a table.
func generate(text string) ([]byte, error) {
	t, err := parse(text)
	if err != nil {
		return nil, err
	}
	return emit(t)
}
