// Package transport makes of an accepted socket what an adapter serves: it reads the header of a proxy, shakes hands over
// TLS, and says which user a certificate names. It keeps certificates current while their files change. It does not know
// which protocol is spoken inside, nor who may log in.
package transport
