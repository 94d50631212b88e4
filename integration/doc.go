// Package integration proves the whole gateway from outside: real clients of each protocol against the real binary,
// over loopback, with its own data directory; and adapters against golden conversations. It knows what the three
// protocols promise and conversions say, and nothing of how the gateway keeps it. It is only compiled as tests.
package integration
