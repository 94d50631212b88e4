package main

import (
	"crypto/x509"
	"fmt"
	"io"
	"strings"
	"testing"

	"tridge/config"
	"tridge/internal/certtest"
)

// TestCheckReadsCertificates: a file that is not there or not right is named where the configuration names it.
func TestCheckReadsCertificates(t *testing.T) {
	ca := certtest.NewAuthority(t)
	server, other := ca.Issue(t, "server", x509.Certificate{}), ca.Issue(t, "other", x509.Certificate{})
	for _, test := range []struct {
		name, text string
		want       []string // how lines of the answer end and begin; none when all is well
	}{
		{"all well", fmt.Sprintf("tls: {certificate: %q, key: %q, client-ca: %q}\nlisteners: {amqps: 127.0.0.1:0, wss: 127.0.0.1:0}\n", server.Certificate, server.Key, ca.File), nil},
		{"nobody encrypts", "tls: {certificate: no.pem, key: no.key}\n", nil},
		{"missing", "listeners: {amqps: 127.0.0.1:0, mqtts: 127.0.0.1:0}\ntls:\n  certificate: no.pem\n  key: no.key\n  client-ca: no.ca\n",
			[]string{":3:16: open no.pem", ":4:8: open no.key", ":5:14: open no.ca"}},
		{"of another key", fmt.Sprintf("listeners:\n  stomps: {address: 127.0.0.1:0, tls: {certificate: %q, key: %q}}\n", server.Certificate, other.Key),
			[]string{":2:53: " + server.Certificate + " and " + other.Key + " are not a certificate and its key"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := write(t, "gateway.yaml", test.text)
			var out strings.Builder
			err := run(t.Context(), []string{"check", "--config", file}, strings.NewReader(""), &out, io.Discard)
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if (err == nil) != (test.want == nil) || test.want != nil && len(lines) != len(test.want) {
				t.Fatalf("%v\n%s", err, out.String())
			}
			for i, want := range test.want {
				if !strings.HasPrefix(lines[i], file+want) {
					t.Errorf("%q, want %q", lines[i], file+want)
				}
			}
		})
	}
}

// TestAddressFromOutsideKeepsOptions: --amqp moves a listener and does not open it to those its options keep out.
func TestAddressFromOutsideKeepsOptions(t *testing.T) {
	file := write(t, "gateway.yaml", "listeners: {amqp: [{address: 127.0.0.1:1, proxy-protocol: true}, 127.0.0.1:2], mqtt: 127.0.0.1:3}\n")
	s, err := readSettings("serve", []string{"--config", file, "--amqp", "127.0.0.1:4", "--mqtt", config.Off}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	g, err := s.gateway()
	if err != nil {
		t.Fatal(err)
	}
	if l := g.Listeners.AMQP; len(l) != 1 || l[0].Address != "127.0.0.1:4" || !l[0].ProxyProtocol {
		t.Errorf("amqp: %+v", l)
	}
	if l := g.Listeners.MQTT; len(l) != 0 {
		t.Errorf("mqtt: %+v", l)
	}
}
