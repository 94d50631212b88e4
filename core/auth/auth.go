package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
)

// Guest is the user every new gateway has. It may connect from the loopback interface only.
const Guest = "guest"

// Credentials is what a peer says about itself.
type Credentials struct {
	User     string
	Password []byte
	Named    bool       // the peer named a user; without, it asks to be let in as Guest
	Remote   netip.Addr // where it connects from
	Proven   bool       // the peer has shown a verified certificate of that user: there is no password
}

// Identity is a peer that has been let in.
type Identity struct {
	User string
}

// ErrRefused is what every refused peer is told, whatever the reason, so that names cannot be probed.
var ErrRefused = errors.New("auth: access refused")

// User is a configured user. Hash is the base64 of a 4-byte salt followed by SHA-256(salt, password), the form
// RabbitMQ's definitions files use.
type User struct {
	Name string
	Hash string
}

// Users knows users by name and password. The zero value knows nobody but Guest.
type Users struct {
	byName map[string][]byte // salt and digest
}

const saltSize = 4

// NewUsers returns the guest and the given users. A configured user of the name Guest replaces the built-in one and is
// not bound to the loopback interface.
func NewUsers(list []User) (*Users, error) {
	u := &Users{byName: make(map[string][]byte, len(list))}
	for _, user := range list {
		hash, err := base64.StdEncoding.DecodeString(user.Hash)
		if err != nil || len(hash) != saltSize+sha256.Size {
			return nil, fmt.Errorf("auth: user %q: the password hash is not base64 of a salt of %d bytes and a SHA-256 digest", user.Name, saltSize)
		}
		if _, twice := u.byName[user.Name]; twice {
			return nil, fmt.Errorf("auth: user %q is listed twice", user.Name)
		}
		u.byName[user.Name] = hash
	}
	return u, nil
}

// Authenticate lets a peer in or answers an error that wraps ErrRefused and says why, for the log.
func (u *Users) Authenticate(c Credentials) (Identity, error) {
	if hash, known := u.byName[c.User]; known && c.Named {
		if !c.Proven && !matches(hash, c.Password) {
			return Identity{}, fmt.Errorf("%w: wrong password for user %q", ErrRefused, c.User)
		}
		return Identity{User: c.User}, nil
	}
	switch {
	case c.Proven || c.Named && c.User != Guest:
		return Identity{}, fmt.Errorf("%w: unknown user %q", ErrRefused, c.User)
	case !c.Remote.Unmap().IsLoopback():
		return Identity{}, fmt.Errorf("%w: user %q may connect from the loopback interface only", ErrRefused, Guest)
	case c.Named && subtle.ConstantTimeCompare(c.Password, []byte(Guest)) != 1:
		return Identity{}, fmt.Errorf("%w: wrong password for user %q", ErrRefused, c.User)
	case !c.Named && u.byName[Guest] != nil:
		return Identity{}, fmt.Errorf("%w: no user named, and user %q is configured with a password", ErrRefused, Guest)
	}
	return Identity{User: Guest}, nil
}

// Hash returns the form of password that User.Hash holds.
func Hash(salt [saltSize]byte, password []byte) string {
	digest := sha256.Sum256(append(salt[:], password...))
	return base64.StdEncoding.EncodeToString(append(salt[:], digest[:]...))
}

func matches(hash, password []byte) bool {
	digest := sha256.Sum256(append(append([]byte(nil), hash[:saltSize]...), password...))
	return subtle.ConstantTimeCompare(digest[:], hash[saltSize:]) == 1
}
