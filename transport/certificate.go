package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Settings say how a listener encrypts.
type Settings struct {
	Certificate string // file: PEM, the certificate first and then those that vouch for it
	Key         string // file: PEM
	ClientCA    string // file: PEM, who vouches for clients; "" where no certificate is asked for
	Require     bool   // clients without a certificate are turned away
	// MinimumVersion is a version of crypto/tls.
	MinimumVersion uint16
	User           UserOf // which user a client's certificate names
}

// FileError is something wrong with one of the files of Settings.
type FileError struct {
	File string // the path
	Err  error
}

func (e *FileError) Error() string { return e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// soon is how long before the end of a certificate a warning is due.
const soon = 30 * 24 * time.Hour

// nagging is how often it is repeated.
const nagging = 24 * time.Hour

// Certificate is what a listener shows its peers, and whom it believes. It follows its files: what a new handshake gets is
// what was there when they were last read whole and right. Connections that are there stay as they are.
type Certificate struct {
	// immutable
	settings Settings
	log      *slog.Logger

	config atomic.Pointer[tls.Config]

	// guarded by mu, which is held while files are read: nothing waits for it but another reload
	mu     sync.Mutex
	stamps [3]stamp
	fault  string // what was last wrong, so that it is told once
	ends   time.Time
	warned time.Time
}

// stamp tells versions of a file apart.
type stamp struct {
	changed time.Time
	size    int64
}

// Load reads the files. The error joins a *FileError for each that is wrong.
func Load(s Settings, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{settings: s, log: log}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stamps = c.look()
	return c, c.load()
}

func (c *Certificate) current() (*tls.Config, UserOf) { return c.config.Load(), c.settings.User }

// Check says what is wrong with the files, as Load does.
func (s *Settings) Check() error {
	_, _, err := s.read()
	return err
}

// read makes a configuration of the files. ends is when the certificate does.
func (s *Settings) read() (config *tls.Config, ends time.Time, err error) {
	chain, err1 := readFile(s.Certificate)
	key, err2 := readFile(s.Key)
	var authorities *x509.CertPool
	var err3 error
	if s.ClientCA != "" {
		authorities, err3 = readAuthorities(s.ClientCA)
	}
	var pair tls.Certificate
	if err1 == nil && err2 == nil {
		if pair, err = tls.X509KeyPair(chain, key); err != nil {
			err1 = &FileError{s.Certificate, fmt.Errorf("%s and %s are not a certificate and its key: %w", s.Certificate, s.Key, err)}
		}
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, time.Time{}, err
	}
	config = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: s.MinimumVersion, ClientCAs: authorities}
	if authorities != nil {
		config.ClientAuth = tls.VerifyClientCertIfGiven
		if s.Require {
			config.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	return config, pair.Leaf.NotAfter, nil
}

func readFile(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, &FileError{path, err}
	}
	return b, nil
}

func readAuthorities(path string) (*x509.CertPool, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, &FileError{path, fmt.Errorf("there is no certificate in %s", path)}
	}
	return pool, nil
}

// load takes what the files hold, or keeps what there is. mu is held.
func (c *Certificate) load() error {
	config, ends, err := c.settings.read()
	if err != nil {
		return err
	}
	// Handshakes clone what they need of it: it is not changed any more.
	c.config.Store(config)
	c.ends, c.fault, c.warned = ends, "", time.Time{}
	c.log.Info("certificate read", "file", c.settings.Certificate, "subject", config.Certificates[0].Leaf.Subject.String(), "expires", ends.UTC().Format(time.RFC3339))
	c.remind(time.Now())
	return nil
}

// remind warns of a certificate that is about to expire, once a day. mu is held.
func (c *Certificate) remind(now time.Time) {
	if left := c.ends.Sub(now); left < soon && now.Sub(c.warned) >= nagging {
		c.warned = now
		text := "certificate expires soon"
		if left <= 0 {
			text = "certificate has expired: clients that check it do not connect"
		}
		c.log.Warn(text, "file", c.settings.Certificate, "expires", c.ends.UTC().Format(time.RFC3339))
	}
}

// look reads what tells whether a file has changed. A file that is not there is one that has.
func (c *Certificate) look() [3]stamp {
	var stamps [3]stamp
	for i, path := range []string{c.settings.Certificate, c.settings.Key, c.settings.ClientCA} {
		if info, err := os.Stat(path); path != "" && err == nil {
			stamps[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return stamps
}

// Reload reads the files again if they have changed, or at any rate when forced. What is wrong with them is told in the
// log, once or whenever forced, and tried again the next time: a certificate and its key are rarely written at one moment.
func (c *Certificate) Reload(forced bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.look()
	if !forced && now == c.stamps && c.fault == "" {
		c.remind(time.Now())
		return
	}
	c.stamps = now
	err := c.load()
	if err == nil {
		return
	}
	if text := err.Error(); forced || text != c.fault {
		c.fault = text
		c.log.Warn("certificate not read again: the one before stays", "file", c.settings.Certificate, "err", err)
	}
	c.remind(time.Now()) // of the one that stays
}

// watching is how often files are looked at.
const watching = 5 * time.Second

// Follow reloads certificates as their files change, and at once whenever hurry is signalled, until ctx ends.
func Follow(ctx context.Context, certificates []*Certificate, hurry <-chan os.Signal) {
	ticker := time.NewTicker(watching)
	defer ticker.Stop()
	for {
		forced := false
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-hurry:
			forced = true
		}
		for _, c := range certificates {
			c.Reload(forced)
		}
	}
}
