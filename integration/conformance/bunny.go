package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// preludeOfBunny has the specs find the broker under test.
//
//go:embed bunny/prelude.rb
var preludeOfBunny []byte

// vhostsOfBunny are the virtual hosts that the specs enter, as users bunny_gem and bunny_reader.
var vhostsOfBunny = [...]string{"bunny_testbed", "bunny_dqt_classic", "bunny_dqt_quorum", "bunny_dqt_stream"}

// bunny is the Ruby client and its integration specs. Those that want a server with certificates or a proxy
// of their own are left out.
func bunny() library {
	return library{
		name: "bunny", language: "Ruby",
		prepare: func(ctx context.Context, s *shelf) (string, error) {
			unpacked, err := s.source(ctx, "ruby-bunny", "2.23.0-1")
			if err != nil {
				return "", err
			}
			return only(unpacked, "*bunny*")
		},
		run:   runBunny,
		needs: map[string]string{"queue_declare: Bunny::Queue when a stream": "streams", "default queue type is 'stream' and x-queue-type is explicitly": "streams"},
	}
}

func runBunny(ctx context.Context, source, copied string, t *target) (map[string]result, error) {
	for _, vhost := range vhostsOfBunny {
		if err := t.tenant(ctx, vhost, "bunny_gem:bunny_password", "bunny_reader:reader_password"); err != nil {
			return nil, err
		}
	}
	_, port, err := net.SplitHostPort(t.amqp)
	if err != nil {
		return nil, err
	}
	// The specs have Bundler load gems; here they are Debian's.
	err = transplant(filepath.Join(source, "spec"), filepath.Join(copied, "spec"), []string{".rb"}, func(_ string, text []byte) []byte {
		return bytes.ReplaceAll(text, []byte(amqpPort), []byte(port))
	})
	if err != nil {
		return nil, err
	}
	for name, text := range map[string][]byte{
		"bundler.rb": []byte("module Bundler\n  def self.setup(*); end\n  def self.require(*); end\nend\n"),
		"prelude.rb": preludeOfBunny,
	} {
		if err := os.WriteFile(filepath.Join(copied, name), text, 0o644); err != nil {
			return nil, err
		}
	}
	out := filepath.Join(copied, "results.json")
	arguments := []string{"-I", filepath.Join(source, "lib"), "-I", copied, "-r", "prelude", "--format", "json", "--out", out}
	for _, folder := range []string{"higher_level_api/integration", "lower_level_api/integration", "issues"} {
		files, err := filepath.Glob(filepath.Join(copied, "spec", folder, "*_spec.rb"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if name := filepath.Base(file); !strings.HasPrefix(name, "tls_") && !strings.HasPrefix(name, "toxiproxy_") {
				arguments = append(arguments, file)
			}
		}
	}
	command := exec.CommandContext(ctx, "rspec", arguments...)
	command.Dir = copied
	command.Env = append(os.Environ(), "CONFORMANCE_AMQP_PORT="+port, "CONFORMANCE_HTTP="+t.http, "RABBITMQ_PORT="+port)
	var log bytes.Buffer
	command.Stdout, command.Stderr = &log, &log
	_ = command.Run() // specs that fail are results
	text, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("the specs did not run: %w\n%s", err, log.String())
	}
	return readSpecs(text)
}

// readSpecs gathers the verdicts from the JSON of rspec.
func readSpecs(text []byte) (map[string]result, error) {
	var report struct {
		Examples []struct {
			Description string `json:"full_description"`
			File        string `json:"file_path"`
			Status      string
			Exception   struct{ Class, Message string }
		}
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return nil, err
	}
	results, verdicts := map[string]result{}, map[string]string{"passed": "pass", "failed": "fail", "pending": "skip"}
	for _, e := range report.Examples {
		name := strings.TrimSuffix(filepath.Base(e.File), "_spec.rb") + ": " + strings.Join(strings.Fields(e.Description), " ")
		for n, first := 2, name; results[name].verdict != ""; n++ { // some have the same words
			name = fmt.Sprintf("%s (%d)", first, n)
		}
		results[name] = result{verdict: verdicts[e.Status], output: strings.TrimSpace(e.Exception.Class + " " + e.Exception.Message)}
	}
	return results, nil
}
