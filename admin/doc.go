// Package admin answers over HTTP how the gateway is: whether it lives, whether it is ready, where it listens. It reads
// snapshots it is given, owns nothing, and knows no protocol but HTTP.
package admin
