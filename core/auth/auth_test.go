package auth

import (
	"errors"
	"net/netip"
	"testing"
)

func TestWhoGetsIn(t *testing.T) {
	local, remote := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.1")
	mapped := netip.MustParseAddr("::ffff:127.0.0.1")
	plain, err := NewUsers(nil)
	if err != nil {
		t.Fatal(err)
	}
	ann, err := NewUsers([]User{{Name: "ann", Hash: Hash([4]byte{1, 2, 3, 4}, []byte("secret"))}})
	if err != nil {
		t.Fatal(err)
	}
	guarded, err := NewUsers([]User{{Name: Guest, Hash: Hash([4]byte{9}, []byte("changed"))}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		users *Users
		c     Credentials
		want  string // user, "" for refused
	}{
		{"guest from loopback", plain, Credentials{"guest", []byte("guest"), true, local, false}, "guest"},
		{"guest from mapped loopback", plain, Credentials{"guest", []byte("guest"), true, mapped, false}, "guest"},
		{"guest from elsewhere", plain, Credentials{"guest", []byte("guest"), true, remote, false}, ""},
		{"guest with a wrong password", plain, Credentials{"guest", []byte("no"), true, local, false}, ""},
		{"no name from loopback", plain, Credentials{Remote: local}, "guest"},
		{"no name from elsewhere", plain, Credentials{Remote: remote}, ""},
		{"unknown address", plain, Credentials{}, ""},
		{"unknown user", plain, Credentials{"ann", []byte("secret"), true, local, false}, ""},
		{"configured user", ann, Credentials{"ann", []byte("secret"), true, remote, false}, "ann"},
		{"wrong password", ann, Credentials{"ann", []byte("Secret"), true, remote, false}, ""},
		{"configured guest from elsewhere", guarded, Credentials{"guest", []byte("changed"), true, remote, false}, "guest"},
		{"configured guest with the old password", guarded, Credentials{"guest", []byte("guest"), true, local, false}, ""},
		{"proven by a certificate", ann, Credentials{"ann", nil, true, remote, true}, "ann"},
		{"proven and unknown", ann, Credentials{"bob", nil, true, remote, true}, ""},
		{"guest cannot be proven", plain, Credentials{"guest", []byte("guest"), true, local, true}, ""},
		{"no name where guest has a password", guarded, Credentials{Remote: local}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := c.users.Authenticate(c.c)
			if id.User != c.want || (err != nil) != (c.want == "") || err != nil && !errors.Is(err, ErrRefused) {
				t.Errorf("%+v, %v; want %q", id, err, c.want)
			}
		})
	}
}

func TestBadUserListsAreRefused(t *testing.T) {
	good := Hash([4]byte{}, nil)
	for _, list := range [][]User{{{"a", "?", ""}}, {{"a", "AAAA", ""}}, {{"a", good, ""}, {"a", good, ""}}, {{"a", "", ""}}, {{"a", good, "4096:AAAA"}}} {
		if _, err := NewUsers(list); err == nil {
			t.Errorf("%v is accepted", list)
		}
	}
}
