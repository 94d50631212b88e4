package mqtt

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"

	"tridge/core/auth"
)

// prover is a client's side of SCRAM-SHA-256.
type prover struct{ bare, password string }

func newProver(user, password string) *prover { return &prover{"n=" + user + ",r=abcdef", password} }

func (p *prover) first() string { return "n,," + p.bare }

// final returns the final message and what the server has to answer.
func (p *prover) final(challenge string) (message, want string) {
	parts := strings.Split(challenge, ",")
	salt, _ := base64.StdEncoding.DecodeString(parts[1][2:])
	iterations, _ := strconv.Atoi(parts[2][2:])
	salted, _ := pbkdf2.Key(sha256.New, p.password, salt, iterations, sha256.Size)
	mac := func(key []byte, s string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(s))
		return h.Sum(nil)
	}
	key := mac(salted, "Client Key")
	stored := sha256.Sum256(key)
	final := "c=biws," + parts[0]
	signed := p.bare + "," + challenge + "," + final
	for i, b := range mac(stored[:], signed) {
		key[i] ^= b
	}
	encode := base64.StdEncoding.EncodeToString
	return final + ",p=" + encode(key), "v=" + encode(mac(mac(salted, "Server Key"), signed))
}

func authProps(method, data string) string {
	return textProp(0x15, method) + textProp(0x16, data)
}

func (c *client) auth(reason Reason, method, data string) {
	c.send(appendAuth(nil, reason, method, []byte(data)))
}

// expectAuth reads an AUTH and returns its data.
func (c *client) expectAuth(want Reason) string {
	c.t.Helper()
	body := c.expect(0xF0)
	if Reason(body[0]) != want {
		c.t.Fatalf("AUTH 0x%02X, want 0x%02X", body[0], byte(want))
	}
	return dataOf(c.t, body[1:])
}

// dataOf returns the authentication data of a list of properties that has the method before it.
func dataOf(t *testing.T, list []byte) string {
	t.Helper()
	s := shape{rest: list}
	s.rest = s.take(int(s.varint()))
	for len(s.rest) > 0 {
		switch identifier := s.octet(); identifier {
		case 0x15:
			if method := string(s.text()); method != auth.SCRAMName {
				t.Errorf("method %q", method)
			}
		case 0x16:
			return string(s.binary())
		default:
			s.value(map[byte]byte{0x21: valueUint16, 0x22: valueUint16, 0x27: valueUint32, 0x11: valueUint32, 0x13: valueUint16,
				0x12: valueText, 0x1A: valueText, 0x25: valueBool, 0x24: valueBool, 0x28: valueBool, 0x29: valueBool, 0x2A: valueBool}[identifier])
		}
	}
	t.Fatalf("no authentication data in % X: %v", list, s.err)
	return ""
}

// scramGateway is a gateway whose user ann has the password pencil, and which lets in who Login is asked about.
func scramGateway(t *testing.T) *gateway {
	t.Helper()
	keys, err := auth.SCRAMHash([16]byte{1}, []byte("pencil"))
	if err != nil {
		t.Fatal(err)
	}
	users, err := auth.NewUsers([]auth.User{{Name: "ann", SCRAM: keys}, {Name: "bob", SCRAM: keys}})
	if err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, Limits{})
	g.server.config.SCRAM = users.SCRAM
	g.user = "ann"
	return g
}

func (g *gateway) scram(user, password, id string) (c *client, want string) {
	g.t.Helper()
	p := newProver(user, password)
	h := hello{version: version5, id: id, properties: []byte(authProps(auth.SCRAMName, p.first()))}
	c = g.dial()
	c.send(h.packet())
	c.version = version5
	final, want := p.final(c.expectAuth(ReasonContinueAuthentication))
	c.auth(ReasonContinueAuthentication, auth.SCRAMName, final)
	return c, want
}

func TestClientProvesItsPasswordWithoutSendingIt(t *testing.T) {
	g := scramGateway(t)
	c, want := g.scram("ann", "pencil", "c")
	body := c.expect(0x20)
	if body[1] != 0 {
		t.Fatalf("CONNACK 0x%02X", body[1])
	}
	if proof := dataOf(t, body[2:]); proof != want {
		t.Errorf("the server's proof is %s, want %s", proof, want)
	}
	c.subscribe(1, qos1, "a")
	for range 2 { // re-authentication, as often as the client likes, while messages flow
		p := newProver("ann", "pencil")
		c.auth(ReasonReauthenticate, auth.SCRAMName, p.first())
		final, want := p.final(c.expectAuth(ReasonContinueAuthentication))
		c.publish(pub{topic: "a", payload: "x"})
		c.expectMessage(pub{topic: "a", payload: "x"})
		c.auth(ReasonContinueAuthentication, auth.SCRAMName, final)
		if proof := c.expectAuth(ReasonSuccess); proof != want {
			t.Errorf("the server's proof is %s, want %s", proof, want)
		}
	}
}

func TestWrongProofIsRefusedTheSameForAll(t *testing.T) {
	for _, user := range []string{"ann", "nobody", "guest"} {
		g := scramGateway(t)
		c, _ := g.scram(user, "wrong", "c")
		if body := c.expect(0x20); Reason(body[1]) != ReasonNotAuthorized {
			t.Errorf("CONNACK 0x%02X", body[1])
		}
		c.expectClosed()
	}
}

func TestFailedReauthenticationEndsTheConnection(t *testing.T) {
	for _, who := range []struct{ user, password string }{{"ann", "wrong"}, {"bob", "pencil"}} {
		g := scramGateway(t)
		c, _ := g.scram("ann", "pencil", "c")
		c.expect(0x20)
		p := newProver(who.user, who.password)
		c.auth(ReasonReauthenticate, auth.SCRAMName, p.first())
		final, _ := p.final(c.expectAuth(ReasonContinueAuthentication))
		c.auth(ReasonContinueAuthentication, auth.SCRAMName, final)
		c.expectGoodbye(ReasonNotAuthorized)
	}
}

func TestAuthenticationMethodsOfOthersAreRefused(t *testing.T) {
	g := scramGateway(t)
	for _, method := range []string{"SCRAM-SHA-1", "GS2-KRB5"} {
		c := g.dial()
		h := hello{version: version5, id: "c", properties: []byte(authProps(method, "x"))}
		c.send(h.packet())
		if body := c.expect(0x20); Reason(body[1]) != ReasonBadAuthenticationMethod {
			t.Errorf("CONNACK 0x%02X", body[1])
		}
		c.expectClosed()
	}
	c := g.dial()
	h := hello{version: version5, id: "c", properties: []byte(textProp(0x16, "x"))} // 5.0, 3.1.2.11.10
	c.send(h.packet())
	if body := c.expect(0x20); Reason(body[1]) != ReasonProtocolError {
		t.Errorf("CONNACK 0x%02X for data without a method", body[1])
	}
}

func TestAuthOutOfTurnIsAProtocolError(t *testing.T) {
	for name, raw := range map[string][]byte{
		"continue without a beginning": appendAuth(nil, ReasonContinueAuthentication, auth.SCRAMName, nil),
		"another method":               appendAuth(nil, ReasonReauthenticate, "PLAIN", nil),
		"success":                      appendAuth(nil, ReasonSuccess, auth.SCRAMName, nil),
		"nothing in it":                {0xF0, 0},
	} {
		g := scramGateway(t)
		c, _ := g.scram("ann", "pencil", "c")
		c.expect(0x20)
		c.send(raw)
		if body := c.expect(0xE0); Reason(body[0]) != ReasonProtocolError {
			t.Errorf("%s: DISCONNECT 0x%02X", name, body[0])
		}
	}
	g := scramGateway(t)
	plain, _ := g.connect(hello{version: version5, id: "plain"}) // [MQTT-4.12.0-7]
	plain.auth(ReasonReauthenticate, auth.SCRAMName, newProver("ann", "pencil").first())
	plain.expectGoodbye(ReasonProtocolError)
}

// [MQTT-3.1.2-30]
func TestOnlyAuthMayComeBeforeCONNACK(t *testing.T) {
	for _, raw := range [][]byte{{0xC0, 0}, {0xE0, 0}} {
		g := scramGateway(t)
		c := g.dial()
		h := hello{version: version5, id: "c", properties: []byte(authProps(auth.SCRAMName, newProver("ann", "x").first()))}
		c.send(h.packet())
		c.expectAuth(ReasonContinueAuthentication)
		c.send(raw)
		if raw[0] == 0xE0 {
			c.expectClosed()
			continue
		}
		if body := c.expect(0x20); Reason(body[1]) != ReasonProtocolError {
			t.Errorf("CONNACK 0x%02X", body[1])
		}
	}
}
