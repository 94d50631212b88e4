package reply

import (
	"strings"
	"testing"
)

func TestTokenComesBackAsItsAddress(t *testing.T) {
	book, err := NewBook(NewSecret(), "/")
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range [][2]string{{"", "q"}, {"amq.topic", "replies.device1"}, {"", ""}, {"x", strings.Repeat("k", 140)}} {
		token, ok := book.Token(address[0], address[1])
		if !ok {
			t.Fatalf("no token for %q", address)
		}
		if len("amq.gw.reply."+token) > 255 {
			t.Errorf("token of %q does not fit a short string", address)
		}
		exchange, key, ok := book.Resolve(token)
		if !ok || exchange != address[0] || key != address[1] {
			t.Errorf("Resolve(Token(%q)) = %q, %q, %v", address, exchange, key, ok)
		}
	}
}

func TestTokenTooLongIsRefused(t *testing.T) {
	book, _ := NewBook(NewSecret(), "/")
	if token, ok := book.Token("amq.topic", strings.Repeat("k", 200)); ok {
		t.Errorf("a token of %d bytes", len(token))
	}
}

func TestForgedTokenIsRefused(t *testing.T) {
	secret := NewSecret()
	book, _ := NewBook(secret, "/")
	other, _ := NewBook(secret, "tenant")
	token, _ := book.Token("", "secret-queue")
	for i := range token {
		forged := []byte(token)
		forged[i] = 'A' + (forged[i]+1-'A')%26
		if string(forged) == token {
			continue
		}
		if _, _, ok := book.Resolve(string(forged)); ok {
			t.Fatalf("token changed at byte %d still resolves", i)
		}
	}
	if _, _, ok := other.Resolve(token); ok {
		t.Error("a token of one virtual host resolves in another")
	}
	for _, token := range []string{"", "!", "AAAA", strings.Repeat("A", 1000)} {
		if _, _, ok := book.Resolve(token); ok {
			t.Errorf("%q resolves", token)
		}
	}
}
