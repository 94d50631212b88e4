package config

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"tridge/core/topology"
)

// Off, as an address, means that nothing listens.
const Off = "off"

// Listeners are where clients connect, by what is spoken there. Those that end with an s encrypt; WS and WSS are MQTT and
// STOMP over WebSocket.
type Listeners struct {
	AMQP, AMQPS, STOMP, STOMPS, MQTT, MQTTS, HTTP, HTTPS, WS, WSS []Listener
}

// Listener is one address.
type Listener struct {
	Where         topology.Where // zero for a default
	Address       string         // host:port, port 0 for any that is free
	ProxyProtocol bool           // every connection begins with the header of a proxy
	Connections   int            // at once; 0 is what Limits say
	Rate          int            // accepted per second; 0 is as many as come
	Origins       []string       // of pages that may connect over WebSocket, besides those of the same host
	TLS           TLS            // with what the whole file says filled in; zero where nothing is encrypted
}

// at is a listener without a word about it but its address.
func at(address string) []Listener { return []Listener{{Address: address}} }

// ClientCertificates says what is asked of clients.
type ClientCertificates uint8

const (
	_                   ClientCertificates = iota // not said
	CertificatesOff                               // nothing
	CertificatesRequest                           // who shows one shows a right one; nothing where no ClientCA vouches for it
	CertificatesRequire                           // everybody shows one
)

// CertificateUser says which user a certificate names.
type CertificateUser uint8

const (
	_                     CertificateUser = iota // not said
	UserCommonName                               // the common name of the subject
	UserDistinguishedName                        // the whole subject, as RFC 4514 writes it
	UserDNSName                                  // the first DNS name among the alternative names
	UserEmail                                    // the first e-mail address among them
)

// TLS says how to encrypt. A zero field is not said.
type TLS struct {
	Certificate, Key   topology.Text // files
	ClientCA           topology.Text // file: who vouches for clients
	ClientCertificates ClientCertificates
	MinimumVersion     uint16 // of crypto/tls
	CertificateUser    CertificateUser
}

// kind is one key below listeners.
type kind struct {
	name        string
	list        *[]Listener
	secure, web bool // encrypts; is WebSocket
}

// kinds are all of them in the order of the file.
func (l *Listeners) kinds() []kind {
	return []kind{
		{name: "amqp", list: &l.AMQP}, {name: "amqps", list: &l.AMQPS, secure: true},
		{name: "stomp", list: &l.STOMP}, {name: "stomps", list: &l.STOMPS, secure: true},
		{name: "mqtt", list: &l.MQTT}, {name: "mqtts", list: &l.MQTTS, secure: true},
		{name: "http", list: &l.HTTP}, {name: "https", list: &l.HTTPS, secure: true},
		{name: "ws", list: &l.WS, web: true}, {name: "wss", list: &l.WSS, secure: true, web: true},
	}
}

func (d *document) listeners(n *yaml.Node, l *Listeners) {
	var fields []field
	for _, k := range l.kinds() {
		fields = append(fields, optional(k.name, func(n *yaml.Node) {
			if v := target(n); v.Kind != yaml.SequenceNode {
				*k.list = d.listener(n, k)
				return
			}
			*k.list = nil
			d.list(n, func(n *yaml.Node) { *k.list = append(*k.list, d.listener(n, k)...) })
		}))
	}
	d.mapping(n, fields...)
}

// listener reads one: an address, off, or a mapping. It is empty for off and for what is wrong.
func (d *document) listener(n *yaml.Node, k kind) []Listener {
	l := Listener{Where: d.where(n)}
	switch v := target(n); v.Kind {
	case yaml.ScalarNode:
		d.address(&l.Address)(n)
	case yaml.MappingNode:
		fields := []field{
			required("address", d.address(&l.Address)),
			optional("proxy-protocol", d.truth(&l.ProxyProtocol)),
			optional("connections", d.number(&l.Connections, 1, 10_000_000)),
			optional("connection-rate", d.number(&l.Rate, 0, 1_000_000)),
		}
		if k.secure {
			fields = append(fields, optional("tls", func(n *yaml.Node) { d.tls(n, &l.TLS) }))
		}
		if k.web {
			fields = append(fields, optional("origins", func(n *yaml.Node) {
				d.list(n, func(n *yaml.Node) { l.Origins = append(l.Origins, d.origin(n)) })
			}))
		}
		d.mapping(n, fields...)
	default:
		d.fail(n, "this should be an address like 127.0.0.1:5672, %s, or a mapping with an address, not %s", Off, describe(v))
	}
	if l.Address == "" || l.Address == Off {
		return nil
	}
	return []Listener{l}
}

func (d *document) origin(n *yaml.Node) string {
	var text string
	d.text(&text)(n)
	o, err := url.Parse(text)
	if text != "" && text != "*" && (err != nil || o.Scheme == "" || o.Host == "" || o.Path != "" || o.RawQuery != "" || o.User != nil) {
		d.fail(n, "%q is not an origin: it is written like https://app.example.com, or * for all", text)
		return ""
	}
	text = strings.ToLower(text)
	for scheme, port := range map[string]string{"http://": ":80", "https://": ":443"} { // browsers leave these out
		if strings.HasPrefix(text, scheme) {
			text = strings.TrimSuffix(text, port)
		}
	}
	return text
}

func (d *document) tls(n *yaml.Node, t *TLS) {
	d.mapping(n,
		optional("certificate", d.located(&t.Certificate)),
		optional("key", d.located(&t.Key)),
		optional("client-ca", d.located(&t.ClientCA)),
		optional("client-certificates", word(d, &t.ClientCertificates, map[string]ClientCertificates{
			"off": CertificatesOff, "request": CertificatesRequest, "require": CertificatesRequire,
		})),
		optional("minimum-version", word(d, &t.MinimumVersion, map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13})),
		optional("certificate-user", word(d, &t.CertificateUser, map[string]CertificateUser{
			"common-name": UserCommonName, "distinguished-name": UserDistinguishedName, "san-dns": UserDNSName, "san-email": UserEmail,
		})),
	)
}

// resolve fills in what listeners that encrypt leave to the whole file, and says what is missing.
func (d *document) resolve(g *Gateway) {
	for _, k := range g.Listeners.kinds() {
		for i := range *k.list {
			if l := &(*k.list)[i]; k.secure {
				l.TLS = l.TLS.over(g.TLS)
				d.complete(k.name, l)
			}
		}
	}
}

// over is t with what it does not say taken from other; a certificate is taken with its key.
func (t TLS) over(other TLS) TLS {
	if t.Certificate.Value == "" && t.Key.Value == "" {
		t.Certificate, t.Key = other.Certificate, other.Key
	}
	if t.ClientCA.Value == "" {
		t.ClientCA = other.ClientCA
	}
	if t.ClientCertificates == 0 {
		t.ClientCertificates = other.ClientCertificates
	}
	if t.MinimumVersion == 0 {
		t.MinimumVersion = other.MinimumVersion
	}
	if t.CertificateUser == 0 {
		t.CertificateUser = other.CertificateUser
	}
	return t
}

// complete says what a listener that encrypts cannot do without.
func (d *document) complete(name string, l *Listener) {
	fail := func(text string) { d.errs = append(d.errs, &Error{Where: l.Where, Text: name + " " + text}) }
	t := &l.TLS
	switch {
	case t.Certificate.Value == "":
		fail("needs a certificate: name the file under tls")
	case t.Key.Value == "":
		fail("needs the key of its certificate: name the file under tls")
	}
	if t.ClientCertificates == CertificatesRequire && t.ClientCA.Value == "" {
		fail("requires certificates of clients and needs client-ca under tls: the file with who vouches for them")
	}
}

func (d *document) address(into *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		// off without quotes is a truth value to some readers of YAML; here it is the word.
		if v := target(n); v.Kind != yaml.ScalarNode {
			d.fail(n, "this should be an address like 127.0.0.1:5672, or off, not %s", describe(v))
		} else if err := CheckAddress(v.Value); err != nil {
			d.fail(n, "%v", err)
		} else {
			*into = v.Value
		}
	}
}

// CheckAddress says what is wrong with an address to listen on.
func CheckAddress(address string) error {
	if address == Off {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not an address: it is written HOST:PORT, like 127.0.0.1:5672, or %s", address, Off)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q is not an address: the port is a number from 0 (any that is free) to 65535", address)
	}
	return nil
}
