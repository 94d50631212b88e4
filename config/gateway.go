package config

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"tridge/core/topology"
)

// Gateway is what gateway.yaml says.
type Gateway struct {
	Data      string // the data directory
	Listeners Listeners
	TLS       TLS // what listeners that encrypt do not say themselves
	Users     []User
	VHosts    []VHost
	Limits    Limits
	Log       Log
	Store     Store
	Alarms    Alarms
	MQTT      MQTT
	STOMP     STOMP
}

// User may log in besides the built-in guest.
type User struct {
	Where        topology.Where
	Name         string
	PasswordHash string // as "gateway hash-password" prints it; "" when SCRAM is not
	SCRAM        string // the keys of SCRAM-SHA-256, as "gateway hash-password" prints them; "" when PasswordHash is not
}

// VHost is a virtual host besides the default one.
type VHost struct {
	Where topology.Where
	Name  string
}

// Limits bound what peers may ask for.
type Limits struct {
	Connections int           // at once, per listener
	MessageSize int64         // bytes of the largest body
	Handshake   time.Duration // from connecting to being logged in
}

// Log is what the gateway says about itself, on standard error.
type Log struct {
	Level slog.Level
	JSON  bool
}

// Sync says when a publisher is told that its message is safe.
type Sync uint8

const (
	SyncAlways   Sync = iota // when it is on the disk
	SyncInterval             // when it is written; the disk follows within a second
	SyncNever                // when it is written; the disk follows when the system likes
)

// Store is how durable data is kept.
type Store struct {
	Sync           Sync
	BodyMemory     int64 // bytes of waiting messages kept in memory; 0 leaves it to the gateway
	PositionMemory int64 // bytes of their positions kept in memory; 0 leaves it to the gateway
}

// Alarms say when publishers are held back.
type Alarms struct {
	MemoryShare float64 // of the smaller of the machine's memory and the control group's
	MemoryLimit int64   // bytes; above 0 it rules over MemoryShare
	DiskFree    int64   // bytes that must be free where the data directory is; 0 waits until the disk is full
}

// STOMP is what the gateway forgives clients of that protocol, or does not.
type STOMP struct {
	ImplicitConnect bool   // a first frame other than CONNECT logs the default user in
	DefaultLogin    string // of a client that names no user; "" is guest, who may come from loopback only
	DefaultPasscode string
	StrictHost      bool // a host header that is no virtual host is refused, and not the default one
}

// Default returns every default there is: what a gateway without a file does.
func Default() Gateway {
	return Gateway{
		Data: "data",
		Listeners: Listeners{
			AMQP: at("127.0.0.1:5672"), STOMP: at("127.0.0.1:61613"), MQTT: at("127.0.0.1:1883"), HTTP: at("127.0.0.1:15672"),
		},
		TLS:    TLS{ClientCertificates: CertificatesRequest, MinimumVersion: tls.VersionTLS12, CertificateUser: UserDistinguishedName},
		Limits: Limits{Connections: 10_000, MessageSize: 128 << 20, Handshake: 10 * time.Second},
		Log:    Log{Level: slog.LevelInfo},
		Store:  Store{Sync: SyncAlways},
		Alarms: Alarms{MemoryShare: 0.6, DiskFree: 512 << 20},
		MQTT:   defaultMQTT(),
	}
}

// Load reads a gateway.yaml over the defaults. The error joins an *Error for everything that is wrong.
func Load(path string) (Gateway, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return Default(), err
	}
	return ParseGateway(path, src)
}

// ParseGateway is Load for the content of a file; name is for the errors.
func ParseGateway(name string, src []byte) (Gateway, error) {
	g, d := Default(), &document{file: name}
	if n := d.root(src); n != nil && !isNull(n) {
		d.gateway(n, &g)
		d.resolve(&g)
	}
	return g, errors.Join(d.errs...)
}

// guest is the user that is there without being listed.
const guest = "guest"

func (d *document) gateway(n *yaml.Node, g *Gateway) {
	var login *yaml.Node // of stomp, which may come before the users
	d.mapping(n,
		optional("data", d.text(&g.Data)),
		optional("listeners", func(n *yaml.Node) { d.listeners(n, &g.Listeners) }),
		optional("tls", func(n *yaml.Node) { d.tls(n, &g.TLS) }),
		optional("users", func(n *yaml.Node) {
			d.list(n, func(n *yaml.Node) { d.user(n, g) })
		}),
		optional("vhosts", func(n *yaml.Node) {
			d.list(n, func(n *yaml.Node) { d.vhost(n, g) })
		}),
		optional("limits", func(n *yaml.Node) {
			d.mapping(n,
				optional("connections", d.number(&g.Limits.Connections, 1, 10_000_000)),
				optional("message-size", d.size(&g.Limits.MessageSize, 1<<10, 256<<20)),
				optional("handshake", d.duration(&g.Limits.Handshake, 100*time.Millisecond, 10*time.Minute)),
			)
		}),
		optional("log", func(n *yaml.Node) {
			d.mapping(n,
				optional("level", word(d, &g.Log.Level, map[string]slog.Level{
					"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
				})),
				optional("format", word(d, &g.Log.JSON, map[string]bool{"text": false, "json": true})),
			)
		}),
		optional("store", func(n *yaml.Node) {
			d.mapping(n,
				optional("sync", word(d, &g.Store.Sync, map[string]Sync{
					"always": SyncAlways, "interval": SyncInterval, "never": SyncNever,
				})),
				optional("body-memory", d.sizeOrAuto(&g.Store.BodyMemory, 1<<20, 1<<40)),
				optional("position-memory", d.sizeOrAuto(&g.Store.PositionMemory, 1<<20, 1<<40)),
			)
		}),
		optional("alarms", func(n *yaml.Node) {
			d.mapping(n,
				optional("memory-high-watermark", d.share(&g.Alarms.MemoryShare)),
				optional("memory-limit", d.size(&g.Alarms.MemoryLimit, 64<<20, 1<<50)),
				optional("disk-free-limit", d.size(&g.Alarms.DiskFree, 0, 1<<60)),
			)
		}),
		optional("mqtt", func(n *yaml.Node) { d.mqtt(n, &g.MQTT) }),
		optional("stomp", func(n *yaml.Node) {
			d.mapping(n,
				optional("implicit-connect", d.truth(&g.STOMP.ImplicitConnect)),
				optional("default-login", func(n *yaml.Node) {
					login = n
					d.text(&g.STOMP.DefaultLogin)(n)
				}),
				optional("default-passcode", d.text(&g.STOMP.DefaultPasscode)),
				optional("strict-host", d.truth(&g.STOMP.StrictHost)),
			)
		}),
		later("permissions"), later("policies"), later("cluster"),
	)
	if name := g.STOMP.DefaultLogin; name != "" && name != guest && !slices.ContainsFunc(g.Users, func(u User) bool { return u.Name == name }) {
		d.fail(login, "%q is none of the users", name)
	}
}

func (d *document) user(n *yaml.Node, g *Gateway) {
	u := User{Where: d.where(n)}
	d.mapping(n, required("name", d.text(&u.Name)), optional("password-hash", d.text(&u.PasswordHash)),
		optional("scram-sha-256", d.text(&u.SCRAM)))
	if u.PasswordHash == "" && u.SCRAM == "" && target(n).Kind == yaml.MappingNode {
		d.fail(n, "\"password-hash\" or \"scram-sha-256\" is missing; \"gateway hash-password\" makes both")
	}
	for _, other := range g.Users {
		if other.Name == u.Name && u.Name != "" {
			d.fail(n, "user %q is listed twice, the first time in line %d", u.Name, other.Where.Line)
			return
		}
	}
	g.Users = append(g.Users, u)
}

func (d *document) vhost(n *yaml.Node, g *Gateway) {
	v := VHost{Where: d.where(n)}
	d.mapping(n, required("name", d.text(&v.Name)))
	for _, other := range g.VHosts {
		if other.Name == v.Name && v.Name != "" {
			d.fail(n, "virtual host %q is listed twice, the first time in line %d", v.Name, other.Where.Line)
			return
		}
	}
	g.VHosts = append(g.VHosts, v)
}
