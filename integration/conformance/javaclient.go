package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// runnerOfJava runs tests and prints what came of each.
//
//go:embed javaclient/Runner.java
var runnerOfJava []byte

// Where Debian has the libraries of Java, and which the tests want: those of librabbitmq-client-java, junit4, libmockito-java,
// libassertj-core-java, libdropwizard-metrics-java and libslf4j-java.
const javaFolder = "/usr/share/java"

var javaLibraries = [...]string{
	"amqp-client", "junit4", "hamcrest-core", "hamcrest-library", "metrics-core", "slf4j-api", "slf4j-nop", "mockito-core", "assertj-core",
	"byte-buddy", "byte-buddy-agent", "objenesis",
}

// javaClient is RabbitMQ's Java client with its functional and server suites.
func javaClient() library {
	return library{
		name: "java-client", language: "Java",
		prepare: func(ctx context.Context, s *shelf) (string, error) {
			unpacked, err := s.source(ctx, "rabbitmq-java-client", "5.0.0-1.1")
			if err != nil {
				return "", err
			}
			return only(unpacked, "rabbitmq-java-client*")
		},
		run:   runJavaClient,
		limit: 30 * time.Minute, // it stops and starts the broker, which is quick here and slow there
		needs: map[string]string{
			"Permissions.": "permissions", "LoopbackUsers.": "permissions", "UserIDHeader.impersonated": "permissions",
			"Firehose.": "the firehose", "ChannelLimitNegotiation.": "a channel-max that changes while it runs",
			"MemoryAlarms.": "alarms on demand", "BlockedConnection.": "alarms on demand", "blockedListenerRecovery": "alarms on demand",
		},
	}
}

func runJavaClient(ctx context.Context, source, classes string, t *target) (map[string]result, error) {
	_, port, err := net.SplitHostPort(t.amqp)
	if err != nil {
		return nil, err
	}
	path, err := compileJava(ctx, source, classes, port)
	if err != nil {
		return nil, err
	}
	names, err := javaSuites(source)
	if err != nil {
		return nil, err
	}
	commands, err := serveControl(t, classes)
	if err != nil {
		return nil, err
	}
	defer commands.close()
	arguments := []string{
		"-Dmake.bin=" + commands.script, "-Drabbitmqctl.bin=" + commands.script, "-Drabbitmq.dir=" + classes, "-Dtest-broker.A.nodename=broker",
		"-Dtest-broker.A.node_port=" + port, "-Dtest-broker.A.config_file=none", "-cp", path, "Runner",
	}
	command := exec.CommandContext(ctx, "java", append(arguments, names...)...)
	var out, log bytes.Buffer
	command.Stdout, command.Stderr = &out, &log
	failed := command.Run()
	results := map[string]result{}
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		if fields := strings.SplitN(lines.Text(), "\t", 3); len(fields) == 3 {
			results[fields[1]] = result{verdict: fields[0], output: fields[2]}
		}
	}
	if failed != nil || len(results) == 0 {
		return nil, fmt.Errorf("the tests did not run to their end: %w\n%s", failed, log.String())
	}
	return results, nil
}

// compileJava compiles the tests, and the one class of the client that knows which port is the default, into classes and returns
// the class path.
func compileJava(ctx context.Context, source, classes, port string) (string, error) {
	var path []string
	for _, library := range javaLibraries {
		path = append(path, filepath.Join(javaFolder, library+".jar"))
	}
	copied := filepath.Join(classes, "src")
	files := []string{}
	add := func(file string, text []byte) error {
		to := filepath.Join(copied, file)
		files = append(files, to)
		return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o644))
	}
	factory := filepath.Join("com", "rabbitmq", "client", "ConnectionFactory.java")
	text, err := os.ReadFile(filepath.Join(source, "src", "main", "java", factory))
	if err != nil {
		return "", err
	}
	if err := add(factory, bytes.ReplaceAll(text, []byte("AMQP.PROTOCOL.PORT"), []byte(port))); err != nil {
		return "", err
	}
	if err := add("Runner.java", runnerOfJava); err != nil {
		return "", err
	}
	tests := filepath.Join(source, "src", "test", "java")
	err = filepath.WalkDir(tests, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// Benchmarks are no tests; Metrics wants a library that Debian does not have.
		if d.Name() == "performance" {
			return fs.SkipDir
		}
		if d.IsDir() || d.Name() == "Metrics.java" {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(tests, file)
		if err != nil {
			return err
		}
		text = bytes.ReplaceAll(text, []byte(amqpPort), []byte(port))
		text = bytes.ReplaceAll(text, []byte("AMQP.PROTOCOL.PORT"), []byte(port))
		return add(relative, bytes.ReplaceAll(text, []byte("\tMetrics.class\n"), []byte("\n")))
	})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(classes, "config.properties"), nil, 0o644); err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, "javac", append([]string{"-nowarn", "-cp", strings.Join(path, ":"), "-d", classes}, files...)...)
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("javac: %w\n%s", err, out)
	}
	return strings.Join(append([]string{classes}, path...), ":"), nil
}

const functionalTests = "FunctionalTests.java"

// javaSuites returns the classes that the suites list.
func javaSuites(source string) ([]string, error) {
	var names []string
	for _, list := range []string{filepath.Join("functional", functionalTests), filepath.Join("server", "ServerTests.java")} {
		file := filepath.Join("com", "rabbitmq", "client", "test", list)
		text, err := os.ReadFile(filepath.Join(source, "src", "test", "java", file))
		if err != nil {
			return nil, err
		}
		for _, found := range regexp.MustCompile(`(?m)^\s+(\w+)\.class`).FindAllSubmatch(text, -1) {
			name := string(found[1])
			class := filepath.Join(filepath.Dir(file), name)
			if _, err := os.Stat(filepath.Join(source, "src", "test", "java", class+".java")); err != nil || name == "Metrics" {
				continue // of another package: of the client alone
			}
			names = append(names, strings.ReplaceAll(class, "/", "."))
		}
	}
	return names, nil
}
