package stomp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tridge/adapters/stomp/wire"
	"tridge/core/auth"
	"tridge/core/router"
	"tridge/core/session"
)

const (
	supportedVersions = "1.0,1.1,1.2"
	defaultVHost      = "/"
	// shortestBeat is the shortest interval between heart-beats that this server promises or asks for.
	shortestBeat = 100 * time.Millisecond
	// longestBeat keeps twice an interval from overflowing.
	longestBeat = 24 * time.Hour
	// patience is how many intervals a peer may stay silent. STOMP 1.2, "Heart-beating": be tolerant.
	patience = 2
)

// handshake waits for CONNECT and answers it. STOMP 1.2, "CONNECT or STOMP Frame". Where clients may leave it out it
// returns the frame that came instead.
func (c *conn) handshake(ctx context.Context) (instead *wire.Frame, err error) {
	if err := c.inlet.Handshake(c.server.limits.Handshake); err != nil {
		return nil, err
	}
	if c.inlet.Interrupted() {
		return nil, errInterrupted
	}
	f, err := c.reader.Next()
	switch {
	case err != nil:
		return nil, err
	case f.Command == wire.Connect, f.Command == wire.Stomp:
		return nil, c.shakeHands(ctx, f)
	case !c.server.implicit:
		return nil, failure("Not connected", "the first frame is CONNECT or STOMP")
	}
	return f, c.open(ctx, &wire.Frame{Command: wire.Connect}, wire.V10, 0, 0)
}

// shakeHands answers CONNECT.
func (c *conn) shakeHands(ctx context.Context, f *wire.Frame) error {
	version, err := negotiate(f)
	if err != nil {
		return err
	}
	if version == wire.V10 {
		trim(f)
	}
	send, receive, err := heartBeat(f)
	if err != nil {
		return err
	}
	if err := c.open(ctx, f, version, send, receive); err != nil {
		return err
	}
	c.connected(send, receive)
	return nil
}

// open lets the client in.
func (c *conn) open(ctx context.Context, f *wire.Frame, version wire.Version, send, receive time.Duration) error {
	if err := c.login(ctx, f); err != nil {
		return err
	}
	if err := c.inlet.Within(0); err != nil {
		return err
	}
	if c.inlet.Interrupted() { // while the deadline was being lifted
		return errInterrupted
	}
	c.version = version
	c.egress.appender.Version = version
	c.reader.SetVersion(version)
	c.member = c.server.sessions.Enter(c.net, session.Info{
		Protocol: "STOMP " + version.String(), User: c.ingress.user, VHost: c.router.Name(), Name: c.ingress.clientID,
		Heartbeat: max(send, receive),
	}, func(reason string) { c.fail(failure("Connection closed", "%s", reason)) })
	return nil
}

// negotiate returns the highest version both sides speak. A client that names none speaks 1.0. STOMP 1.2, "Protocol
// Negotiation".
func negotiate(f *wire.Frame) (wire.Version, error) {
	accept, named := f.Get("accept-version")
	if !named {
		return wire.V10, nil
	}
	best := wire.Version(0)
	for text := range strings.SplitSeq(accept, ",") {
		for _, v := range []wire.Version{wire.V10, wire.V11, wire.V12} {
			if strings.TrimSpace(text) == v.String() {
				best = max(best, v)
			}
		}
	}
	if best == 0 {
		e := failure("Version mismatch", "Supported versions are %s", supportedVersions)
		e.Version = supportedVersions
		return 0, e
	}
	return best, nil
}

// heartBeat returns how often the server will send something and how often it expects something, 0 for never. It
// mirrors what the client offers and wants. STOMP 1.2, "Heart-beating".
func heartBeat(f *wire.Frame) (send, receive time.Duration, err error) {
	text, named := f.Get("heart-beat")
	if !named {
		return 0, 0, nil
	}
	offered, wanted, found := strings.Cut(text, ",")
	can, errCan := strconv.ParseUint(strings.TrimSpace(offered), 10, 32)
	want, errWant := strconv.ParseUint(strings.TrimSpace(wanted), 10, 32)
	if !found || errCan != nil || errWant != nil {
		return 0, 0, badHeader(f.Command, "heart-beat", text, "two numbers of milliseconds")
	}
	return beat(want), beat(can), nil
}

func beat(milliseconds uint64) time.Duration {
	if milliseconds == 0 {
		return 0
	}
	return min(max(time.Duration(milliseconds)*time.Millisecond, shortestBeat), longestBeat)
}

// login lets the client into the virtual host it names, or into the default one when there is none of that name:
// clients put host names there.
func (c *conn) login(ctx context.Context, f *wire.Frame) error {
	user, named := f.Get("login")
	passcode, given := f.Get("passcode")
	if !named && !given && c.server.defaultLogin != "" && session.CertificateUser(c.net) == "" {
		user, passcode, named, given = c.server.defaultLogin, c.server.defaultPasscode, true, true
	}
	credentials := auth.Credentials{User: strings.Clone(user), Password: []byte(passcode), Named: named}
	// A certificate stands in for a passcode that is not there; a login named besides must be its own.
	if proven := session.CertificateUser(c.net); proven != "" && !given && (!named || user == proven) {
		credentials.User, credentials.Named, credentials.Proven = proven, true, true
	}
	if remote, err := netip.ParseAddrPort(c.net.RemoteAddr().String()); err == nil {
		credentials.Remote = remote.Addr()
	}
	host, _ := f.Get("host")
	if host = strings.Clone(host); host == "" {
		host = defaultVHost
	}
	r, identity, err := c.server.login(ctx, credentials, host)
	if err != nil && !errors.Is(err, auth.ErrRefused) && host != defaultVHost && !c.server.strictHost {
		r, identity, err = c.server.login(ctx, credentials, defaultVHost)
	}
	if errors.Is(err, auth.ErrRefused) {
		return &Error{Message: "Bad CONNECT", Detail: "Access refused for user '" + credentials.User + "'", Cause: err}
	}
	if err != nil && c.server.strictHost && host != defaultVHost {
		return &Error{Message: "Bad CONNECT", Detail: "Virtual host '" + host + "' access denied", NoLineEnd: true, Cause: err}
	}
	if err != nil {
		return err
	}
	clientID, _ := f.Get("client-id")
	c.enter(r, identity, strings.Clone(clientID))
	return nil
}

func randomSession() string {
	var token [8]byte
	_, _ = rand.Read(token[:]) // documented to never fail
	return hex.EncodeToString(token[:])
}

// enter fills in what depends on the virtual host and the user.
func (c *conn) enter(r *router.Router, identity auth.Identity, clientID string) {
	c.session = c.server.newSession()
	c.router, c.origin = r, r.NewOrigin()
	c.publisher = r.NewPublisher(c.origin)
	if c.server.replies != nil {
		c.replies = c.server.replies(r.Name())
	}
	c.ingress = ingress{
		origin: c.origin, user: identity.User, clientID: clientID, replies: c.replies, losses: &c.server.losses,
		tempQueue: c.tempQueue, tempTopic: c.tempTopic,
	}
	c.egress = egress{session: c.session, replies: c.replies, losses: &c.server.losses}
}

// connected answers CONNECT and starts the heart. STOMP 1.2, "CONNECTED".
func (c *conn) connected(send, receive time.Duration) {
	a := wire.Appender{Version: c.version}
	b := a.Begin(c.out.Begin(), wire.Connected)
	b = a.RawHeader(b, "version", c.version.String())
	b = a.RawHeader(b, "session", c.session)
	if c.server.product != "" {
		b = a.RawHeader(b, "server", c.server.product)
	}
	b = a.RawHeader(b, "heart-beat", strconv.FormatInt(send.Milliseconds(), 10)+","+strconv.FormatInt(receive.Milliseconds(), 10))
	c.out.End(a.End(b))
	if send > 0 || receive > 0 {
		early := send - send/5 // so that a beat delayed on its way is not late
		c.inlet.Beat(session.NewHeart(c.out, early, patience*receive, c.beat, func() { c.fail(errSilent) }))
	}
}

// beat sends one line end.
func (c *conn) beat() {
	b := c.out.Begin()
	if !c.closing {
		b = append(b, '\n')
	}
	c.out.End(b)
}
