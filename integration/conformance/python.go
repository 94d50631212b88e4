package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
)

// debianPython is Debian's own interpreter: another one first in the path does not have Debian's packages.
const debianPython = "/usr/bin/python3"

// pytest runs tests in directory, which is also where their library is.
func pytest(ctx context.Context, directory string, environment []string, arguments ...string) (map[string]result, error) {
	report := filepath.Join(directory, "report.xml")
	arguments = append([]string{"-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:logging", "--tb=short", "--junitxml", report}, arguments...)
	return reported(report, func() ([]byte, error) {
		return command(ctx, directory, append(environment, "PYTHONPATH="+directory), debianPython, arguments...)
	})
}

// pika is the most used library of Python: its acceptance tests, with every kind of event loop it has an adapter for.
func pika() library {
	return library{
		name: "pika", language: "Python",
		prepare: func(ctx context.Context, s *shelf) (string, error) { return s.source(ctx, "python-pika", "1.3.2-1") },
		run: func(ctx context.Context, prepared, directory string, t *target) (map[string]result, error) {
			_, port, err := net.SplitHostPort(t.amqp)
			if err != nil {
				return nil, err
			}
			err = transplant(filepath.Join(prepared, "pika-1.3.2"), directory, []string{".py"}, func(path string, text []byte) []byte {
				if in, _ := filepath.Match("tests/*/*", path); in {
					return bytes.ReplaceAll(text, []byte(amqpPort), []byte(port))
				}
				return text
			})
			if err != nil {
				return nil, err
			}
			return pytest(ctx, directory, nil, "-o", "python_files=*.py", "tests/acceptance")
		},
		needs: map[string]string{"TestGetaddrinfoWWWGoogleDotCom": "the Internet"},
	}
}

// pyAMQP is what kombu and Celery speak AMQP with.
func pyAMQP() library {
	return library{
		name: "py-amqp", language: "Python",
		prepare: func(ctx context.Context, s *shelf) (string, error) { return s.source(ctx, "python-amqp", "5.3.1-2") },
		run: func(ctx context.Context, prepared, directory string, t *target) (map[string]result, error) {
			host, port, err := net.SplitHostPort(t.amqp)
			if err != nil {
				return nil, err
			}
			if err := transplant(filepath.Join(prepared, "amqp-5.3.1"), directory, nil, nil); err != nil {
				return nil, err
			}
			return pytest(ctx, directory, []string{"RABBITMQ_HOST=" + host, "RABBITMQ_5672_TCP=" + port}, "-W", "ignore", "t/integration")
		},
		needs: map[string]string{"tls": "certificates that are not in the released suite, or the Internet"},
	}
}

// aiormq is what aio-pika speaks AMQP with. Its suite is written for aiomisc, which Debian does not have: of that it gets a
// loop and nothing else, so that all but the tests behind a proxy run.
func aiormq() library {
	return library{
		name: "aiormq", language: "Python",
		prepare: func(ctx context.Context, s *shelf) (string, error) { return s.source(ctx, "python-aiormq", "6.8.1-1") },
		run: func(ctx context.Context, prepared, directory string, t *target) (map[string]result, error) {
			if err := transplant(filepath.Join(prepared, "python-aiormq-6.8.1"), directory, nil, nil); err != nil {
				return nil, err
			}
			for name, text := range map[string]string{
				"aiomisc.py": "def timeout(_):\n    return lambda test: test\n",
				"aiomisc_pytest.py": "import pytest\n\nclass TCPProxy:\n    pass\n\n@pytest.fixture\n" +
					"def loop(event_loop):\n    return event_loop\n",
			} {
				if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o644); err != nil {
					return nil, err
				}
			}
			return pytest(ctx, directory, []string{"AMQP_URL=amqp://guest:guest@" + t.amqp + "/"}, "-W", "ignore", "-p", "aiomisc_pytest",
				"-p", "pytest_asyncio", "--asyncio-mode=auto", "-k", "not amqps and not test_ssl", // each would wait for a greeting in TLS
				"tests/test_channel.py", "tests/test_connection.py")
		},
		needs: map[string]string{
			"test_proxy_connection": needsProxy, "test_declare_queue_timeout": needsProxy, "test_connection_stuck": needsProxy,
			"test_connection_close_stairway": needsProxy,
		},
	}
}

const needsProxy = "the proxy of aiomisc"
