// Package proxyproto reads the header with which a proxy says on whose behalf it connects: the PROXY protocol, versions 1
// and 2 (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt). It does not know who may send one: whoever reaches
// a listener that reads it can claim any address, so only proxies should reach such a listener.
package proxyproto
