package main

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
)

// nodeModules is where integration/install.sh puts what package.json names.
const nodeModules = "integration/node/node_modules"

// amqplib is the most used library of Node: the last release that has its tests with it.
func amqplib() library {
	return library{
		name: "amqplib", language: "Node",
		prepare: func(context.Context, *shelf) (string, error) { return filepath.Abs(nodeModules) },
		run: func(ctx context.Context, prepared, directory string, t *target) (map[string]result, error) {
			_, port, err := net.SplitHostPort(t.amqp)
			if err != nil {
				return nil, err
			}
			err = transplant(filepath.Join(prepared, "amqplib-suite"), directory, []string{".js"}, func(path string, text []byte) []byte {
				if path == "lib/connect.js" { // some tests rely on its default
					return bytes.ReplaceAll(text, []byte(amqpPort), []byte(port))
				}
				return text
			})
			if err != nil {
				return nil, err
			}
			tests, err := filepath.Glob(filepath.Join(directory, "test", "*.js"))
			if err != nil {
				return nil, err
			}
			report := filepath.Join(directory, "report.xml")
			arguments := append([]string{filepath.Join(prepared, "mocha", "bin", "mocha"), "-u", "tdd", "--exit", "--timeout", "10000",
				"--reporter", "xunit", "--reporter-option", "output=" + report}, tests...)
			return reported(report, func() ([]byte, error) {
				return command(ctx, directory, []string{"URL=amqp://localhost:" + port, "NODE_PATH=" + prepared}, "node", arguments...)
			})
		},
		needs: map[string]string{"ipv6": "a broker at the default port of ::1"},
	}
}
