package main

import (
	"net"
	"net/netip"

	"tridge/admin"
	"tridge/core/session"
)

// connections shows the sessions of every listener over HTTP.
type connections struct{ sessions *session.Registry }

var _ admin.Connections = connections{}

func (c connections) All() []admin.Connection {
	var list []admin.Connection
	for _, each := range c.sessions.Connections() {
		list = append(list, shown(&each))
	}
	return list
}

func (c connections) Find(name string) (admin.Connection, bool) {
	found, ok := c.sessions.Find(name)
	if !ok {
		return admin.Connection{}, false
	}
	return shown(&found), true
}

func (c connections) Close(name, reason string) bool { return c.sessions.Expel(name, reason) }

func shown(c *session.Connection) admin.Connection {
	return admin.Connection{
		Name: c.ID, Protocol: c.Protocol, User: c.User, VHost: c.VHost, Mechanism: c.Mechanism, GivenName: c.Name,
		Properties: c.Properties, Since: c.Since, Remote: addressOf(c.Remote), Local: addressOf(c.Local),
		Channels: c.Channels, ChannelMax: c.ChannelMax, FrameMax: c.FrameMax, Heartbeat: c.Heartbeat,
		BytesRead: c.BytesRead, BytesWritten: c.BytesWritten, Encrypted: c.Encrypted, Held: c.Held,
	}
}

// addressOf is the zero address when a is none of TCP.
func addressOf(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}
