package transport

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// UserOf finds the user a verified certificate names, "" when it names none.
type UserOf func(*x509.Certificate) string

// CommonName names the user by the subject's common name.
func CommonName(c *x509.Certificate) string { return c.Subject.CommonName }

// DNSName names the user by the first DNS name among the alternative names.
func DNSName(c *x509.Certificate) string { return first(c.DNSNames) }

// EmailAddress names the user by the first e-mail address among the alternative names.
func EmailAddress(c *x509.Certificate) string { return first(c.EmailAddresses) }

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// attributes are the names of what subjects consist of: those of RFC 4514 and those RabbitMQ adds, because users are named
// by them there.
var attributes = [...]struct {
	id   []int
	name string
}{
	{[]int{2, 5, 4, 3}, "CN"}, {[]int{2, 5, 4, 4}, "SN"}, {[]int{2, 5, 4, 5}, "SERIALNUMBER"}, {[]int{2, 5, 4, 6}, "C"},
	{[]int{2, 5, 4, 7}, "L"}, {[]int{2, 5, 4, 8}, "ST"}, {[]int{2, 5, 4, 9}, "STREET"}, {[]int{2, 5, 4, 10}, "O"},
	{[]int{2, 5, 4, 11}, "OU"}, {[]int{2, 5, 4, 12}, "TITLE"}, {[]int{2, 5, 4, 42}, "GIVENNAME"}, {[]int{2, 5, 4, 43}, "INITIALS"},
	{[]int{2, 5, 4, 44}, "GENERATIONQUALIFIER"}, {[]int{2, 5, 4, 65}, "PSEUDONYM"},
	{[]int{0, 9, 2342, 19200300, 100, 1, 1}, "UID"}, {[]int{0, 9, 2342, 19200300, 100, 1, 25}, "DC"},
	{[]int{1, 2, 840, 113549, 1, 9, 1}, "EMAILADDRESS"},
}

// DistinguishedName names the user by the whole subject as RFC 4514 writes it, the last part first: "CN=worker,O=works".
func DistinguishedName(c *x509.Certificate) string {
	var subject pkix.RDNSequence
	if rest, err := asn1.Unmarshal(c.RawSubject, &subject); err != nil || len(rest) > 0 {
		return ""
	}
	var text strings.Builder
	for _, set := range slices.Backward(subject) {
		for i, part := range set {
			switch {
			case i > 0:
				text.WriteByte('+')
			case text.Len() > 0:
				text.WriteByte(',')
			}
			text.WriteString(attribute(part.Type))
			text.WriteByte('=')
			writeValue(&text, part.Value)
		}
	}
	return text.String()
}

func attribute(id asn1.ObjectIdentifier) string {
	for _, a := range attributes {
		if slices.Equal(a.id, []int(id)) {
			return a.name
		}
	}
	return id.String()
}

// writeValue appends the value of an attribute, escaped (RFC 4514, section 2.4).
func writeValue(text *strings.Builder, value any) {
	v, ok := value.(string)
	if !ok {
		der, err := asn1.Marshal(value)
		if err != nil {
			return
		}
		text.WriteString("#" + hex.EncodeToString(der))
		return
	}
	for i := range len(v) {
		switch b := v[i]; {
		case strings.IndexByte(`"+,;<>\`, b) >= 0, i == 0 && (b == ' ' || b == '#'), i == len(v)-1 && b == ' ':
			text.WriteByte('\\')
			text.WriteByte(b)
		case b < ' ' || b > '~':
			fmt.Fprintf(text, "\\%02X", b)
		default:
			text.WriteByte(b)
		}
	}
}
