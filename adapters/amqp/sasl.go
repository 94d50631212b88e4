package amqp

import (
	"strings"

	"tridge/adapters/amqp/wire"
	"tridge/core/auth"
	"tridge/core/message"
	"tridge/core/session"
)

// The SASL mechanisms by which a peer says who it is.
const (
	mechanismPlain    = "PLAIN"    // RFC 4616
	mechanismAMQPlain = "AMQPLAIN" // a field table with LOGIN and PASSWORD
	mechanismExternal = "EXTERNAL" // RFC 4422, appendix A: by the certificate it has shown
)

// mechanisms is what connection.start offers on c. EXTERNAL is among them only where the peer has shown a certificate
// that was verified and names a user: a client takes the strongest one offered, and would be refused.
func (c *conn) mechanisms() string {
	if session.CertificateUser(c.socket) != "" {
		return mechanismPlain + " " + mechanismAMQPlain + " " + mechanismExternal
	}
	return mechanismPlain + " " + mechanismAMQPlain
}

// credentials reads the response of connection.start-ok.
func (c *conn) credentials(mechanism, response string) (auth.Credentials, *Error) {
	claim := auth.Credentials{Named: true, Remote: remoteAddress(c.socket)}
	switch mechanism {
	case mechanismPlain:
		// Authorization identity, NUL, user, NUL, password. The first is not used.
		parts := strings.Split(response, "\x00")
		if len(parts) != 3 {
			return claim, failure(wire.SyntaxError, "response of mechanism PLAIN is malformed")
		}
		claim.User, claim.Password = strings.Clone(parts[1]), []byte(parts[2])
		return claim, nil
	case mechanismAMQPlain:
		fields := message.Headers(response)
		if fields.ValidateTable() != nil {
			return claim, failure(wire.SyntaxError, "response of mechanism AMQPLAIN is malformed")
		}
		login, _ := fields.Get("LOGIN")
		user, named := login.String()
		password, _ := fields.Get("PASSWORD")
		secret, given := password.Bytes()
		if !named || !given {
			return claim, failure(wire.SyntaxError, "AMQPLAIN auth info is missing LOGIN or PASSWORD field")
		}
		claim.User, claim.Password = strings.Clone(user), append([]byte{}, secret...)
		return claim, nil
	case mechanismExternal:
		if claim.User = session.CertificateUser(c.socket); claim.User != "" {
			claim.Proven = true
			return claim, nil
		}
	}
	return claim, failure(wire.CommandInvalid, "unknown authentication mechanism '%s'", mechanism)
}
