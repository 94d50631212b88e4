package auth

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The conversation of RFC 7677, section 3.
const (
	rfcClientNonce = "rOprNGfwEbeRWgbNEkqO"
	rfcServerNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	rfcSalt        = "W22ZaJ0SNY7soEsUEjb6gQ=="
	rfcFinal       = "c=biws,r=" + rfcClientNonce + rfcServerNonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)

func rfcUsers(t *testing.T) *Users {
	t.Helper()
	var salt [scramSalt]byte
	raw, _ := base64.StdEncoding.DecodeString(rfcSalt)
	copy(salt[:], raw)
	keys, err := SCRAMHash(salt, []byte("pencil"))
	if err != nil {
		t.Fatal(err)
	}
	users, err := NewUsers([]User{{Name: "user", SCRAM: keys}, {Name: "a,b=c", SCRAM: keys}, {Name: "old", Hash: Hash([4]byte{1}, []byte("x"))}})
	if err != nil {
		t.Fatal(err)
	}
	return users
}

func TestSCRAMIsThatOfTheRFC(t *testing.T) {
	s := rfcUsers(t).SCRAM()
	s.nonce = rfcServerNonce
	challenge, err := s.First([]byte("n,,n=user,r=" + rfcClientNonce))
	if err != nil {
		t.Fatal(err)
	}
	if want := "r=" + rfcClientNonce + rfcServerNonce + ",s=" + rfcSalt + ",i=4096"; string(challenge) != want {
		t.Errorf("challenge %s\nwant      %s", challenge, want)
	}
	proof, user, err := s.Final([]byte(rfcFinal))
	if want := "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="; err != nil || user != "user" || string(proof) != want {
		t.Errorf("%s, %q, %v; want %s", proof, user, err, want)
	}
	if _, _, err := s.Final([]byte(rfcFinal)); !errors.Is(err, ErrRefused) {
		t.Errorf("a second proof is answered %v", err)
	}
}

// answer is a client's final message to a challenge.
func answer(t *testing.T, header, bare, challenge, password string) string {
	t.Helper()
	parts := strings.Split(challenge, ",")
	salt, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(parts[1], "s="))
	if err != nil {
		t.Fatal(err)
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, SCRAMIterations, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	key := mac(salted, "Client Key")
	stored := sha256.Sum256(key)
	final := "c=" + base64.StdEncoding.EncodeToString([]byte(header)) + "," + parts[0]
	for i, b := range mac(stored[:], bare+","+challenge+","+final) {
		key[i] ^= b
	}
	return final + ",p=" + base64.StdEncoding.EncodeToString(key)
}

func TestSCRAMLetsInWhoKnowsThePassword(t *testing.T) {
	for _, c := range []struct{ name, header, user, password, want string }{
		{"password", "n,,", "user", "pencil", "user"},
		{"client that could bind channels", "y,,", "user", "pencil", "user"},
		{"for oneself", "n,a=user,", "user", "pencil", "user"},
		{"name with escapes", "n,,", "a=2Cb=3Dc", "pencil", "a,b=c"},
		{"wrong password", "n,,", "user", "pen", ""},
		{"unknown user", "n,,", "mallory", "pencil", ""},
		{"user without keys", "n,,", "old", "x", ""},
		{"guest, who has no keys", "n,,", "guest", "guest", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := rfcUsers(t).SCRAM()
			bare := "n=" + c.user + ",r=abc"
			challenge, err := s.First([]byte(c.header + bare))
			if err != nil {
				t.Fatal(err)
			}
			_, user, err := s.Final([]byte(answer(t, c.header, bare, string(challenge), c.password)))
			if user != c.want || (c.want == "") != errors.Is(err, ErrRefused) {
				t.Errorf("%q, %v", user, err)
			}
		})
	}
}

func TestSCRAMDoesNotTellWhoExists(t *testing.T) {
	ask := func(users *Users, user string) string {
		challenge, err := users.SCRAM().First([]byte("n,,n=" + user + ",r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		_, salt, _ := strings.Cut(string(challenge), ",")
		return salt
	}
	real, made := ask(rfcUsers(t), "user"), ask(rfcUsers(t), "mallory")
	if len(real) != len(made) || !strings.HasSuffix(made, ",i=4096") {
		t.Errorf("%s looks different from %s", made, real)
	}
	if again := ask(rfcUsers(t), "mallory"); again != made { // as after a restart
		t.Errorf("salt %s, then %s", made, again)
	}
	if other := ask(rfcUsers(t), "eve"); other == made {
		t.Error("all who do not exist have one salt")
	}
}

func TestMalformedSCRAMIsRefused(t *testing.T) {
	for _, first := range []string{"", "n", "n,", "n,,", "n,,n=user", "n,,r=abc,n=user", "n,,n=,r=abc", "n,,n=user,r=", "n,,n=u=ser,r=abc",
		"p=tls-unique,,n=user,r=abc", "n,a=root,n=user,r=abc", "n,,m=x,n=user,r=abc", "n,,n=user,r=a\x00", strings.Repeat("n", maxSCRAM)} {
		if _, err := rfcUsers(t).SCRAM().First([]byte(first)); !errors.Is(err, ErrRefused) {
			t.Errorf("%q is answered %v", first, err)
		}
	}
	for _, final := range []string{"", "c=biws", "c=biws,r=x,p=", strings.Replace(rfcFinal, "c=biws", "c=eSws", 1),
		strings.Replace(rfcFinal, rfcServerNonce, "other", 1), strings.Replace(rfcFinal, "p=dHz", "p=AHz", 1), rfcFinal + "x"} {
		s := rfcUsers(t).SCRAM()
		s.nonce = rfcServerNonce
		if _, err := s.First([]byte("n,,n=user,r=" + rfcClientNonce)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Final([]byte(final)); !errors.Is(err, ErrRefused) {
			t.Errorf("%q is answered %v", final, err)
		}
	}
	if _, _, err := rfcUsers(t).SCRAM().Final([]byte(rfcFinal)); !errors.Is(err, ErrRefused) {
		t.Error("a final message without a first is not refused")
	}
}

// Users whose passwords were hashed at different times have other iterations: so do those who are not there.
func TestUnknownUsersLookLikeKnownOnes(t *testing.T) {
	keys := func(iterations, salt int) string {
		return scramKeys{iterations, make([]byte, salt), make([]byte, 32), make([]byte, 32)}.String()
	}
	users, err := NewUsers([]User{{Name: "old", SCRAM: keys(4096, 12)}, {Name: "new", SCRAM: keys(600_000, 16)}})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for i := range 100 {
		k, known := users.scramKeys(fmt.Sprint("nobody", i))
		again, _ := users.scramKeys(fmt.Sprint("nobody", i))
		if known || k.String() != again.String() {
			t.Fatalf("known %v, %v, then %v", known, k, again)
		}
		seen[fmt.Sprint(k.iterations, " ", len(k.salt))]++
	}
	if len(seen) != 2 || seen["4096 12"] == 0 || seen["600000 16"] == 0 {
		t.Errorf("seen %v", seen)
	}
}
