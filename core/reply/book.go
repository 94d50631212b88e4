package reply

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

const (
	// SecretSize is the number of bytes of a secret.
	SecretSize = 32
	// maxToken keeps "amq.gw.reply." and the token within the 255 bytes of an AMQP short string.
	maxToken = 255 - len("amq.gw.reply.")

	macSize = 16
)

// Book makes and reads the tokens of one virtual host. It keeps nothing but its secret: the token carries the address.
type Book struct{ secret []byte }

// NewSecret returns a fresh secret. It is made once and kept with the gateway's data, so that tokens survive a restart.
func NewSecret() []byte {
	secret := make([]byte, SecretSize)
	_, _ = rand.Read(secret) // documented to never fail
	return secret
}

// NewBook returns the book of the virtual host of that name.
func NewBook(secret []byte, vhost string) (*Book, error) {
	if len(secret) != SecretSize {
		return nil, fmt.Errorf("reply: secret has %d bytes, not %d", len(secret), SecretSize)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(vhost))
	return &Book{secret: mac.Sum(nil)}, nil
}

// Token returns the token of an address; false when the address is too long to be carried by one.
func (b *Book) Token(exchange, key string) (string, bool) {
	size := macSize + 1 + len(exchange) + len(key)
	if len(exchange) > 255 || base64.RawURLEncoding.EncodedLen(size) > maxToken {
		return "", false
	}
	raw := make([]byte, macSize, size)
	raw = append(raw, byte(len(exchange)))
	raw = append(raw, exchange...)
	raw = append(raw, key...)
	copy(raw, b.sign(raw[macSize:]))
	return base64.RawURLEncoding.EncodeToString(raw), true
}

// Resolve returns the address of a token that this book made.
func (b *Book) Resolve(token string) (exchange, key string, ok bool) {
	if len(token) > maxToken {
		return "", "", false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < macSize+1 || !hmac.Equal(raw[:macSize], b.sign(raw[macSize:])) {
		return "", "", false
	}
	n := int(raw[macSize])
	address := raw[macSize+1:]
	if n > len(address) {
		return "", "", false
	}
	return string(address[:n]), string(address[n:]), true
}

func (b *Book) sign(address []byte) []byte {
	mac := hmac.New(sha256.New, b.secret)
	mac.Write(address)
	return mac.Sum(nil)[:macSize]
}
