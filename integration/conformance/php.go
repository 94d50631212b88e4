package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
)

// phpAMQPLib is the library written in PHP: its functional tests, both kinds of input and output.
func phpAMQPLib() library {
	return library{
		name: "php-amqplib", language: "PHP",
		prepare: func(ctx context.Context, s *shelf) (string, error) { return s.source(ctx, "php-amqplib", "3.7.3-1") },
		run: func(ctx context.Context, prepared, directory string, t *target) (map[string]result, error) {
			host, port, err := net.SplitHostPort(t.amqp)
			if err != nil {
				return nil, err
			}
			err = transplant(filepath.Join(prepared, "php-amqplib-3.7.3"), directory, []string{".php"}, func(path string, text []byte) []byte {
				if path == "tests/Functional/Connection/SSLConnectionTest.php" {
					return bytes.ReplaceAll(text, []byte(amqpPort), []byte(port))
				}
				return text
			})
			if err != nil {
				return nil, err
			}
			if err := os.WriteFile(filepath.Join(directory, "load.php"), []byte(phpLoader), 0o644); err != nil {
				return nil, err
			}
			report := filepath.Join(directory, "report.xml")
			return reported(report, func() ([]byte, error) {
				return command(ctx, directory, []string{"TEST_RABBITMQ_HOST=" + host, "TEST_RABBITMQ_PORT=" + port}, "phpunit", "--no-coverage", "--no-logging",
					"--log-junit", report, "--bootstrap", "load.php", "tests/Functional")
			})
		},
		needs: map[string]string{"SSLConnectionTest": "TLS", "plain_auth_passwordless_must_fail": "users made through the management API, and Httpful"},
	}
}

// phpLoader finds classes without Composer.
const phpLoader = `<?php
require_once '/usr/share/php/phpseclib3/autoload.php';
spl_autoload_register(function ($class) {
    foreach (['PhpAmqpLib\\Tests\\' => 'tests/', 'PhpAmqpLib\\' => 'PhpAmqpLib/'] as $prefix => $folder) {
        $file = __DIR__ . '/' . $folder . str_replace('\\', '/', substr($class, strlen($prefix))) . '.php';
        if (strpos($class, $prefix) === 0 && is_file($file)) {
            require_once $file;
            return;
        }
    }
});
require_once __DIR__ . '/tests/config.php';
require __DIR__ . '/tests/php_compat_71.php';
`

// phpTests is the runner that comes with PHP's headers.
const phpTests = "/usr/lib/php/*/build/run-tests.php"

// phpAMQP is the extension of PHP, which speaks AMQP with rabbitmq-c.
func phpAMQP() library {
	return library{
		name: "php-amqp", language: "PHP",
		prepare: func(ctx context.Context, s *shelf) (string, error) {
			source, err := s.source(ctx, "php-amqp", "2.1.2-5")
			if err != nil {
				return "", err
			}
			source = filepath.Join(source, "amqp-2.1.2")
			if _, err := os.Stat(filepath.Join(source, "modules", "amqp.so")); err == nil {
				return source, nil
			}
			for _, step := range [][]string{{"phpize"}, {"./configure"}, {"make"}} {
				if _, err := command(ctx, source, nil, step[0], step[1:]...); err != nil {
					return "", err
				}
			}
			return source, nil
		},
		run: func(ctx context.Context, prepared, directory string, t *target) (map[string]result, error) {
			_, port, err := net.SplitHostPort(t.amqp)
			if err != nil {
				return nil, err
			}
			runner, err := only("/", phpTests)
			if err != nil {
				return nil, err
			}
			err = transplant(prepared, directory, []string{".phpt", ".inc"}, func(path string, text []byte) []byte {
				if path == "tests/ini_validation_failure.phpt" { // it prints defaults
					return text
				}
				return bytes.ReplaceAll(text, []byte(amqpPort), []byte(port))
			})
			if err != nil {
				return nil, err
			}
			report := filepath.Join(directory, "report.xml")
			return reported(report, func() ([]byte, error) {
				return command(ctx, directory, []string{"PHP_AMQP_HOST=localhost", "TEST_PHP_JUNIT=" + report, "NO_INTERACTION=1"}, "php", runner, "-q", "-n",
					"-p", "/usr/bin/php", "-d", "extension="+filepath.Join(directory, "modules", "amqp.so"), "-d", "amqp.port="+port, "tests")
			})
		},
		needs: map[string]string{
			"construct_with_connect_timeout": "the Internet, an address that does not answer",
			"ini_validation_failure":         "the default port",
			"amqpconnection_tls":             "TLS",
		},
	}
}
