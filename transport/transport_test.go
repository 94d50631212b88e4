package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tridge/internal/certtest"
)

// journal is text that many goroutines write.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func load(t *testing.T, s Settings, log io.Writer) *Certificate {
	t.Helper()
	if s.MinimumVersion == 0 {
		s.MinimumVersion = tls.VersionTLS12
	}
	if s.User == nil {
		s.User = CommonName
	}
	c, err := Load(s, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// meet opens a connection over loopback and returns what Open makes of it. client does the client's part.
func meet(t *testing.T, o *Opener, patience time.Duration, client func(net.Conn)) (net.Conn, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var done sync.WaitGroup
	t.Cleanup(done.Wait)
	done.Go(func() {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		client(c)
	})
	socket, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return o.Open(ctx, socket)
}

// secured is a client's part of a TLS handshake, and then it reads until the other side closes.
func secured(c *tls.Config) func(net.Conn) {
	return func(socket net.Conn) {
		s := tls.Client(socket, c)
		if s.Handshake() == nil {
			_, _ = io.Copy(io.Discard, s)
		}
	}
}

func userOf(c net.Conn) string { return c.(interface{ CertificateUser() string }).CertificateUser() }

func TestClientCertificateNamesTheUser(t *testing.T) {
	ca, stranger := certtest.NewAuthority(t), certtest.NewAuthority(t)
	server := ca.Issue(t, "server", x509.Certificate{})
	device := x509.Certificate{Subject: pkix.Name{CommonName: "device7", Organization: []string{"works"}}, DNSNames: []string{"d7.example"}, EmailAddresses: []string{"d7@example"}}
	shown := ca.Issue(t, "device", device)
	expired := device
	expired.NotAfter = time.Now().Add(-time.Hour)
	for _, test := range []struct {
		name    string
		require bool
		client  *tls.Config
		user    UserOf
		want    string // the user; "refused" for no connection
	}{
		{"none", false, ca.Client(t), CommonName, ""},
		{"none, required", true, ca.Client(t), CommonName, "refused"},
		{"common name", false, ca.Client(t, shown), CommonName, "device7"},
		{"required", true, ca.Client(t, shown), CommonName, "device7"},
		{"distinguished name", false, ca.Client(t, shown), DistinguishedName, "CN=device7,O=works"},
		{"DNS name", false, ca.Client(t, shown), DNSName, "d7.example"},
		{"e-mail", false, ca.Client(t, shown), EmailAddress, "d7@example"},
		{"no e-mail", false, ca.Client(t, server), EmailAddress, ""},
		{"of somebody we do not know", false, ca.Client(t, stranger.Issue(t, "device", device)), CommonName, "refused"},
		{"expired", false, ca.Client(t, ca.Issue(t, "expired", expired)), CommonName, "refused"},
		{"too old a version", false, &tls.Config{RootCAs: ca.Client(t).RootCAs, ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, CommonName, "refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := &Opener{TLS: load(t, Settings{
				Certificate: server.Certificate, Key: server.Key, ClientCA: ca.File, Require: test.require, User: test.user,
			}, io.Discard)}
			// A certificate is shown whoever the server says it trusts.
			if len(test.client.Certificates) > 0 {
				shown := &test.client.Certificates[0]
				test.client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown, nil }
			}
			c, err := meet(t, o, time.Minute, secured(test.client))
			switch {
			case test.want == "refused" && err == nil:
				t.Error("let in")
			case test.want != "refused" && err != nil:
				t.Error(err)
			case err == nil && userOf(c) != test.want:
				t.Errorf("user %q, want %q", userOf(c), test.want)
			}
			if c != nil {
				_ = c.Close()
			}
		})
	}
}

func TestProxyAndTLSTogether(t *testing.T) {
	ca := certtest.NewAuthority(t)
	pair := ca.Issue(t, "server", x509.Certificate{})
	o := &Opener{Proxy: true, TLS: load(t, Settings{Certificate: pair.Certificate, Key: pair.Key}, io.Discard)}
	c, err := meet(t, o, time.Minute, func(socket net.Conn) {
		_, _ = io.WriteString(socket, "PROXY TCP4 192.0.2.7 192.0.2.8 1000 2000\r\n")
		secured(ca.Client(t))(socket)
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.RemoteAddr().String() != "192.0.2.7:1000" || c.LocalAddr().String() != "192.0.2.8:2000" {
		t.Errorf("%v -> %v", c.RemoteAddr(), c.LocalAddr())
	}
	_ = c.Close()
}

// TestSlowHandshakesEnd: whatever does not come, the socket is closed when the time is up.
func TestSlowHandshakesEnd(t *testing.T) {
	ca := certtest.NewAuthority(t)
	pair := ca.Issue(t, "server", x509.Certificate{})
	secure := load(t, Settings{Certificate: pair.Certificate, Key: pair.Key}, io.Discard)
	for _, test := range []struct {
		name   string
		opener Opener
		begin  string
	}{
		{"no header", Opener{Proxy: true}, ""},
		{"half a header", Opener{Proxy: true}, "PROXY TCP4 192.0.2.7 "},
		{"no hello", Opener{TLS: secure}, ""},
		{"half a hello", Opener{TLS: secure}, "\x16\x03\x01\x01\x00\x01"},
		{"a header and no hello", Opener{Proxy: true, TLS: secure}, "PROXY UNKNOWN\r\n"},
		{"not TLS", Opener{TLS: secure}, "CONNECT\n\n\x00"},
		{"not a header", Opener{Proxy: true}, "CONNECT\n\n\x00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := meet(t, &test.opener, 200*time.Millisecond, func(socket net.Conn) {
				_, _ = io.WriteString(socket, test.begin)
				_, _ = io.Copy(io.Discard, socket) // until it is closed
			})
			if err == nil || c != nil {
				t.Errorf("opened: %v", err)
			}
		})
	}
}

// TestCertificateFollowsItsFiles: a new handshake gets the new certificate, connections stay, and files that do not belong
// together change nothing.
func TestCertificateFollowsItsFiles(t *testing.T) {
	ca := certtest.NewAuthority(t)
	pair := ca.Issue(t, "server", x509.Certificate{Subject: pkix.Name{CommonName: "first"}})
	var log journal
	c := load(t, Settings{Certificate: pair.Certificate, Key: pair.Key}, &log)
	o := &Opener{TLS: c}
	shown := func() (name string, conn net.Conn) {
		config := ca.Client(t)
		config.VerifyConnection = func(s tls.ConnectionState) error {
			name = s.PeerCertificates[0].Subject.CommonName
			return nil
		}
		conn, err := meet(t, o, time.Minute, func(socket net.Conn) {
			s := tls.Client(socket, config)
			_, _ = io.Copy(s, s)
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "?"); err != nil { // the client has seen it when it echoes
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return name, conn
	}
	name, before := shown()
	defer before.Close()
	c.Reload(false) // nothing has changed
	if name != "first" || strings.Count(log.String(), "certificate read") != 1 {
		t.Errorf("%q; log: %s", name, &log)
	}
	old, err := os.ReadFile(pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	ca.Issue(t, "server", x509.Certificate{Subject: pkix.Name{CommonName: "second"}})
	fresh, err := os.ReadFile(pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	// The certificate is written before its key: nothing is taken until both are there, and it is told once.
	for range 2 {
		if err := os.WriteFile(pair.Key, old, 0o600); err != nil {
			t.Fatal(err)
		}
		c.Reload(false)
	}
	name, conn := shown()
	_ = conn.Close()
	if name != "first" || strings.Count(log.String(), "the one before stays") != 1 {
		t.Errorf("%q; log: %s", name, &log)
	}
	if err := os.WriteFile(pair.Key, fresh, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Reload(false)
	name, conn = shown()
	_ = conn.Close()
	if name != "second" {
		t.Errorf("%q; log: %s", name, &log)
	}
	if _, err := io.WriteString(before, "still here"); err != nil {
		t.Error(err)
	}
}

// TestSilenceIsNotKeptOverWrongFiles: while what is there to replace a certificate is wrong, its end comes nearer all the
// same, and who asks by a signal is answered each time.
func TestSilenceIsNotKeptOverWrongFiles(t *testing.T) {
	ca := certtest.NewAuthority(t)
	pair := ca.Issue(t, "server", x509.Certificate{NotAfter: time.Now().Add(29 * 24 * time.Hour)})
	var log journal
	c := load(t, Settings{Certificate: pair.Certificate, Key: pair.Key}, &log)
	if err := os.WriteFile(pair.Key, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Reload(false)
	c.Reload(true)
	if n := strings.Count(log.String(), "the one before stays"); n != 2 {
		t.Errorf("told %d times: %s", n, &log)
	}
	c.warned = time.Now().Add(-25 * time.Hour)
	c.Reload(false)
	if n := strings.Count(log.String(), "expires soon"); n != 2 {
		t.Errorf("warned %d times: %s", n, &log)
	}
}

func TestFollowReloadsOnASignal(t *testing.T) {
	ca := certtest.NewAuthority(t)
	pair := ca.Issue(t, "server", x509.Certificate{})
	var log journal
	c := load(t, Settings{Certificate: pair.Certificate, Key: pair.Key}, &log)
	ctx, cancel := context.WithCancel(t.Context())
	hurry := make(chan os.Signal)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Follow(ctx, []*Certificate{c}, hurry)
	}()
	hurry <- os.Interrupt
	cancel()
	<-ended
	if n := strings.Count(log.String(), "certificate read"); n != 2 {
		t.Errorf("read %d times", n)
	}
}

func TestExpiryIsToldInTime(t *testing.T) {
	ca := certtest.NewAuthority(t)
	for _, test := range []struct {
		left time.Duration
		want string
	}{{31 * 24 * time.Hour, ""}, {29 * 24 * time.Hour, "expires soon"}, {-time.Hour, "has expired"}} {
		pair := ca.Issue(t, "server", x509.Certificate{NotAfter: time.Now().Add(test.left)})
		var log journal
		c := load(t, Settings{Certificate: pair.Certificate, Key: pair.Key}, &log)
		c.remind(time.Now()) // it was told when it was read
		if got := strings.Count(log.String(), "level=WARN"); got != min(len(test.want), 1) || !strings.Contains(log.String(), test.want) {
			t.Errorf("%v left: %s", test.left, &log)
		}
		c.remind(time.Now().Add(25 * time.Hour))
		if got := strings.Count(log.String(), "level=WARN"); test.want != "" && got != 2 {
			t.Errorf("%v left, a day later: %s", test.left, &log)
		}
	}
}

func TestEveryWrongFileIsNamed(t *testing.T) {
	ca := certtest.NewAuthority(t)
	pair, other := ca.Issue(t, "server", x509.Certificate{}), ca.Issue(t, "other", x509.Certificate{})
	for _, test := range []struct {
		name     string
		settings Settings
		want     []string
	}{
		{"nothing there", Settings{Certificate: "no.pem", Key: "no.key", ClientCA: "ca.no"}, []string{"no.pem", "no.key", "ca.no"}},
		{"another key", Settings{Certificate: pair.Certificate, Key: other.Key}, []string{pair.Certificate}},
		{"no certificate", Settings{Certificate: pair.Key, Key: pair.Key}, []string{pair.Key}},
		{"no authority", Settings{Certificate: pair.Certificate, Key: pair.Key, ClientCA: pair.Key}, []string{pair.Key}},
	} {
		err := test.settings.Check()
		var files []string
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, each := range joined.Unwrap() {
				if file, ok := errors.AsType[*FileError](each); ok {
					files = append(files, file.File)
				}
			}
		}
		if strings.Join(files, " ") != strings.Join(test.want, " ") {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestDistinguishedNamesAreThoseOfRFC4514(t *testing.T) {
	part := func(id asn1.ObjectIdentifier, value any) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: id, Value: value}
	}
	for want, subject := range map[string]pkix.RDNSequence{
		"CN=worker,O=works":          {{part([]int{2, 5, 4, 10}, "works")}, {part([]int{2, 5, 4, 3}, "worker")}},
		"O=works,CN=worker":          {{part([]int{2, 5, 4, 3}, "worker")}, {part([]int{2, 5, 4, 10}, "works")}},
		"CN=a+UID=7,DC=net":          {{part([]int{0, 9, 2342, 19200300, 100, 1, 25}, "net")}, {part([]int{2, 5, 4, 3}, "a"), part([]int{0, 9, 2342, 19200300, 100, 1, 1}, "7")}},
		`CN=\ a\, b\+\C3\BC\ `:       {{part([]int{2, 5, 4, 3}, " a, b+ü ")}},
		`EMAILADDRESS=a@b,1.2.3.4=x`: {{part([]int{1, 2, 3, 4}, "x")}, {part([]int{1, 2, 840, 113549, 1, 9, 1}, "a@b")}},
		"":                           {},
	} {
		raw, err := asn1.Marshal(subject)
		if err != nil {
			t.Fatal(err)
		}
		if got := DistinguishedName(&x509.Certificate{RawSubject: raw}); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestFeedHandsOverWhatIsAcceptedElsewhere(t *testing.T) {
	f := NewFeed(&net.TCPAddr{Port: 7})
	a, b := net.Pipe()
	ended := make(chan error, 2)
	go func() { ended <- f.ServeConn(t.Context(), a) }()
	c, err := f.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.(interface{ CloseWrite() error }); !ok {
		t.Error("it cannot be closed by halves, as net/http does")
	}
	_ = c.Close()
	_ = c.Close() // net/http closes twice
	if err := <-ended; err != nil {
		t.Error(err)
	}
	_ = f.Close()
	if err := f.ServeConn(t.Context(), b); err != nil {
		t.Error(err)
	}
	if _, err := f.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
