// Package admin answers over HTTP how the gateway is: whether it lives, whether it is ready, where it listens. It reads
// snapshots it is given, owns nothing, and knows no protocol but HTTP. On a socket of its own it takes orders that need no
// more than the right to the data directory (Control).
package admin
