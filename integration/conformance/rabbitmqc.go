package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// rabbitMQC is the library in C. One of its tests speaks to a broker; its examples, which are programs, do so too.
func rabbitMQC() library {
	return library{
		name: "rabbitmq-c", language: "C",
		prepare: func(ctx context.Context, s *shelf) (string, error) {
			source, err := s.source(ctx, "librabbitmq", "0.15.0-1+deb13u2")
			if err != nil {
				return "", err
			}
			source = filepath.Join(source, "rabbitmq-c-0.15.0")
			built := filepath.Join(source, "built")
			if _, err := os.Stat(filepath.Join(built, "examples", "amqp_bind")); err == nil {
				return source, nil
			}
			if _, err := command(ctx, source, nil, "cmake", "-S", ".", "-B", "built", "-DENABLE_SSL_SUPPORT=OFF", "-DBUILD_EXAMPLES=ON"); err != nil {
				return "", err
			}
			_, err = command(ctx, source, nil, "cmake", "--build", "built")
			return source, err
		},
		run: runRabbitMQC,
	}
}

func runRabbitMQC(ctx context.Context, prepared, directory string, t *target) (map[string]result, error) {
	host, port, err := net.SplitHostPort(t.amqp)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(prepared, "tests", "test_basic.c"))
	if err != nil {
		return nil, err
	}
	source, program := filepath.Join(directory, "test_basic.c"), filepath.Join(directory, "test_basic")
	if err := os.WriteFile(source, bytes.ReplaceAll(text, []byte("AMQP_PROTOCOL_PORT"), []byte(port)), 0o644); err != nil {
		return nil, err
	}
	if _, err := command(ctx, directory, nil, "gcc", "-o", program, "-I"+filepath.Join(prepared, "include"), "-I"+filepath.Join(prepared, "librabbitmq"),
		"-I"+filepath.Join(prepared, "built", "include"), source, filepath.Join(prepared, "built", "librabbitmq", "librabbitmq.a"), "-lpthread"); err != nil {
		return nil, err
	}
	results := map[string]result{}
	for _, step := range [][]string{
		{program},
		{"amqp_exchange_declare", host, port, "conformance.c", "fanout"},
		{"amqp_bind", host, port, "amq.fanout", "key", "conformance.c.q"},
		{"amqp_sendstring", host, port, "amq.fanout", "key", "text"},
		{"amqp_producer", host, port, "1000", "500"},
		{"amqp_unbind", host, port, "amq.fanout", "key", "conformance.c.q"},
	} {
		name := step[0]
		if !strings.HasPrefix(name, "/") {
			name = filepath.Join(prepared, "built", "examples", name)
			if step[0] == "amqp_bind" { // its queue is expected to be there
				if _, err := command(ctx, directory, nil, "amqp-declare-queue", "-s", host, "--port="+port, "-d", "-q", "conformance.c.q"); err != nil {
					return nil, err
				}
			}
		}
		r := result{verdict: "pass"}
		if out, err := command(ctx, directory, nil, name, step[1:]...); err != nil {
			r = result{verdict: "fail", output: string(out) + err.Error() + "\n"}
		}
		results[filepath.Base(name)] = r
	}
	return results, nil
}
