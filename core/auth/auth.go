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
	Proven   bool       // the peer has shown a verified certificate of that user, or a proof (SCRAM): there is no password
}

// Identity is a peer that has been let in.
type Identity struct {
	User string
}

// ErrRefused is what every refused peer is told, whatever the reason, so that names cannot be probed.
var ErrRefused = errors.New("auth: access refused")

// User is a configured user. It has one of the two, or both.
type User struct {
	Name  string
	Hash  string // base64 of a 4-byte salt followed by SHA-256(salt, password), the form RabbitMQ's definitions files use
	SCRAM string // the keys of SCRAM-SHA-256 as SCRAMHash returns them
}

// Users knows users by name and password. The zero value knows nobody but Guest.
type Users struct {
	byName map[string]credential
	secret []byte      // what the keys of users are made of that do not exist
	shapes []scramKeys // those of users that do, which the others look like
}

// credential is what is known of one user's password.
type credential struct {
	hash  []byte     // salt and digest; nil when there is none
	scram *scramKeys // nil when there are none
}

const saltSize = 4

// NewUsers returns the guest and the given users. A configured user of the name Guest replaces the built-in one and is
// not bound to the loopback interface.
func NewUsers(list []User) (*Users, error) {
	u := &Users{byName: make(map[string]credential, len(list)), secret: scramSecret(list)}
	for _, user := range list {
		var c credential
		if user.Hash != "" || user.SCRAM == "" {
			hash, err := base64.StdEncoding.DecodeString(user.Hash)
			if err != nil || len(hash) != saltSize+sha256.Size {
				return nil, fmt.Errorf("auth: user %q: the password hash is not base64 of a salt of %d bytes and a SHA-256 digest", user.Name, saltSize)
			}
			c.hash = hash
		}
		if user.SCRAM != "" {
			keys, err := parseSCRAMKeys(user.SCRAM)
			if err != nil {
				return nil, fmt.Errorf("auth: user %q: %w", user.Name, err)
			}
			c.scram, u.shapes = &keys, append(u.shapes, keys)
		}
		if _, twice := u.byName[user.Name]; twice {
			return nil, fmt.Errorf("auth: user %q is listed twice", user.Name)
		}
		u.byName[user.Name] = c
	}
	return u, nil
}

// Authenticate lets a peer in or answers an error that wraps ErrRefused and says why, for the log.
func (u *Users) Authenticate(c Credentials) (Identity, error) {
	if known, is := u.byName[c.User]; is && c.Named {
		if !c.Proven && !matches(known.hash, c.Password) {
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
	case !c.Named && u.configured(Guest):
		return Identity{}, fmt.Errorf("%w: no user named, and user %q is configured with a password", ErrRefused, Guest)
	}
	return Identity{User: Guest}, nil
}

func (u *Users) configured(name string) bool {
	_, is := u.byName[name]
	return is
}

// Hash returns the form of password that User.Hash holds.
func Hash(salt [saltSize]byte, password []byte) string {
	digest := sha256.Sum256(append(salt[:], password...))
	return base64.StdEncoding.EncodeToString(append(salt[:], digest[:]...))
}

func matches(hash, password []byte) bool {
	if hash == nil {
		return false
	}
	digest := sha256.Sum256(append(append([]byte(nil), hash[:saltSize]...), password...))
	return subtle.ConstantTimeCompare(digest[:], hash[saltSize:]) == 1
}
