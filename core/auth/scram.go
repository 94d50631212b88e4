package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// SCRAMName is the name of the mechanism.
const SCRAMName = "SCRAM-SHA-256"

const (
	// SCRAMIterations is how often SCRAMHash hashes: what RFC 7677 asks for at least, because devices do the same at
	// every login.
	SCRAMIterations = 4096
	scramSalt       = 16      // octets of a salt that SCRAMHash is given
	maxIterations   = 1 << 24 // of User.SCRAM: nobody waits longer
)

// SCRAMHash returns the form of password that User.SCRAM holds. The password is taken as it is: RFC 5802 has clients
// prepare theirs (SASLprep), which changes nothing in printable ASCII.
func SCRAMHash(salt [scramSalt]byte, password []byte) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, string(password), salt[:], SCRAMIterations, sha256.Size)
	if err != nil {
		return "", err
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	return scramKeys{SCRAMIterations, salt[:], stored[:], mac(salted, "Server Key")}.String(), nil
}

// scramKeys is what a server keeps of a password: enough to check a proof and to give one, not to log in elsewhere
// (RFC 5802, section 3).
type scramKeys struct {
	iterations           int
	salt, stored, server []byte
}

func (k scramKeys) String() string {
	text := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%d:%s:%s:%s", k.iterations, text(k.salt), text(k.stored), text(k.server))
}

var errSCRAMKeys = errors.New("the SCRAM-SHA-256 keys are not iterations:salt:stored-key:server-key, the last three in base64")

func parseSCRAMKeys(s string) (k scramKeys, err error) {
	parts := strings.Split(s, ":")
	if len(parts) != 4 {
		return k, errSCRAMKeys
	}
	if k.iterations, err = strconv.Atoi(parts[0]); err != nil || k.iterations < 1 || k.iterations > maxIterations {
		return k, errSCRAMKeys
	}
	for i, into := range []*[]byte{&k.salt, &k.stored, &k.server} {
		if *into, err = base64.StdEncoding.DecodeString(parts[i+1]); err != nil {
			return k, errSCRAMKeys
		}
	}
	if len(k.salt) == 0 || len(k.stored) != sha256.Size || len(k.server) != sha256.Size {
		return k, errSCRAMKeys
	}
	return k, nil
}

// SCRAM is the server's side of one conversation of SCRAM-SHA-256 (RFC 5802 and 7677), without channel binding. A user
// that is not there is asked for a proof like any other and then refused, so that names cannot be probed.
type SCRAM struct {
	users *Users
	nonce string // the server's part; random unless a test says

	user        string
	keys        scramKeys
	known       bool
	header      string // GS2 header of the first message
	transcript  string // client-first-bare and server-first
	nonces      string // both
	firstIsDone bool
}

// SCRAM begins a conversation. Only configured users can have it.
func (u *Users) SCRAM() *SCRAM {
	return &SCRAM{users: u, nonce: rand.Text()}
}

// maxSCRAM is the most octets a message of the client has.
const maxSCRAM = 4096

// First answers the client's first message. The error wraps ErrRefused.
func (s *SCRAM) First(message []byte) (challenge []byte, err error) {
	header, bare, ok := cutHeader(string(message))
	if !ok || len(message) > maxSCRAM || s.firstIsDone {
		return nil, s.refuse("malformed first message")
	}
	attributes := strings.SplitN(bare, ",", 3) // what follows the nonce are extensions that may be ignored
	if len(attributes) < 2 {
		return nil, s.refuse("malformed first message")
	}
	name, isName := strings.CutPrefix(attributes[0], "n=")
	nonce, isNonce := strings.CutPrefix(attributes[1], "r=")
	user, isUser := unescape(name)
	if !isName || !isNonce || !isUser || nonce == "" || !printable(nonce) {
		return nil, s.refuse("malformed first message")
	}
	if _, other, _ := strings.Cut(header, ","); other != "," && other != "a="+name+"," {
		return nil, s.refuse("to act for another user is not supported")
	}
	s.header, s.user, s.nonces = header, user, nonce+s.nonce
	s.keys, s.known = s.users.scramKeys(user)
	first := "r=" + s.nonces + ",s=" + base64.StdEncoding.EncodeToString(s.keys.salt) + ",i=" + strconv.Itoa(s.keys.iterations)
	s.transcript = bare + "," + first
	s.firstIsDone = true
	return []byte(first), nil
}

// Final checks the client's proof and returns ours, and who the peer is. The error wraps ErrRefused.
func (s *SCRAM) Final(message []byte) (proof []byte, user string, err error) {
	text := string(message)
	at := strings.LastIndex(text, ",p=")
	if at < 0 || len(text) > maxSCRAM || !s.firstIsDone {
		return nil, "", s.refuse("malformed final message")
	}
	s.firstIsDone = false // one proof per challenge
	bare := text[:at]
	given, err := base64.StdEncoding.DecodeString(text[at+3:])
	if err != nil || len(given) != sha256.Size {
		return nil, "", s.refuse("malformed proof")
	}
	want := "c=" + base64.StdEncoding.EncodeToString([]byte(s.header)) + ",r=" + s.nonces
	if bare != want && !strings.HasPrefix(bare, want+",") {
		return nil, "", s.refuse("another conversation's final message")
	}
	signed := s.transcript + "," + bare
	signature := mac(s.keys.stored, signed)
	for i := range given { // ClientKey := ClientProof XOR ClientSignature
		given[i] ^= signature[i]
	}
	stored := sha256.Sum256(given)
	if !hmac.Equal(stored[:], s.keys.stored) || !s.known {
		return nil, "", s.refuse("wrong password or unknown user")
	}
	return append([]byte("v="), base64.StdEncoding.EncodeToString(mac(s.keys.server, signed))...), s.user, nil
}

func (s *SCRAM) refuse(why string) error {
	return fmt.Errorf("%w: %s: user %q: %s", ErrRefused, SCRAMName, s.user, why)
}

// cutHeader separates the GS2 header, of a client that asks for no channel binding: n, y, an authorization identity.
func cutHeader(message string) (header, bare string, ok bool) {
	if !strings.HasPrefix(message, "n,") && !strings.HasPrefix(message, "y,") {
		return "", "", false
	}
	end := strings.IndexByte(message[2:], ',')
	if end < 0 {
		return "", "", false
	}
	return message[:end+3], message[end+3:], true
}

// unescape reads a name, in which =2C is a comma and =3D an equals sign.
func unescape(s string) (string, bool) {
	plain := strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s)
	rest := strings.NewReplacer("=2C", "", "=3D", "").Replace(s)
	return plain, s != "" && !strings.Contains(rest, "=")
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e || s[i] == ',' {
			return false
		}
	}
	return true
}

// scramKeys returns a user's keys. Of one that has none they are made up: the same at every attempt, as salted as those of some
// user, and made also when they are not needed, so that neither what is answered nor how soon tells who there is.
func (u *Users) scramKeys(name string) (k scramKeys, known bool) {
	made := scramKeys{SCRAMIterations, mac(u.secret, "salt of "+name), mac(u.secret, "key of "+name), u.secret}
	salt := scramSalt
	if n := len(u.shapes); n > 0 {
		like := u.shapes[binary.BigEndian.Uint32(made.stored)%uint32(n)]
		made.iterations, salt = like.iterations, len(like.salt)
	}
	made.salt = made.salt[:min(salt, len(made.salt))]
	if c, is := u.byName[name]; is && c.scram != nil {
		return *c.scram, true
	}
	return made, false
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// scramSecret is what made-up salts are made of: as secret as the keys of the users, and the same after a restart, because
// a salt that changes is as good as a confession.
func scramSecret(list []User) []byte {
	var all bytes.Buffer
	for _, user := range list {
		fmt.Fprintf(&all, "%q %q %q\n", user.Name, user.Hash, user.SCRAM)
	}
	secret := sha256.Sum256(all.Bytes())
	return secret[:]
}
