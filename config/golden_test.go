package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what the tests find into testdata instead of comparing")

// TestEveryErrorIsReportedWithItsPlace reads each testdata/*/NAME.yaml and compares the errors with NAME.errors.
func TestEveryErrorIsReportedWithItsPlace(t *testing.T) {
	for kind, parse := range map[string]func(name string, src []byte) error{
		"gateway": func(name string, src []byte) error { _, err := ParseGateway(name, src); return err },
		"routes":  func(name string, src []byte) error { _, err := ParseRoutes(name, src); return err },
	} {
		files, err := filepath.Glob(filepath.Join("testdata", kind, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files: %v", kind, err)
		}
		for _, file := range files {
			t.Run(kind+"/"+filepath.Base(file), func(t *testing.T) {
				src, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				got := ""
				if err := parse(filepath.Base(file), src); err != nil {
					got = err.Error() + "\n"
				}
				golden := strings.TrimSuffix(file, ".yaml") + ".errors"
				if *rewrite {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
					return
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("errors are\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
}
