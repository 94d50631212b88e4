// Package gateway builds, starts, stops and kills the gateway's program as an operator would: by its command line, its
// output, its HTTP addresses and its process id. It does not know any of the protocols the gateway speaks.
package gateway
