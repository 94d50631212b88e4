// Package reply names reply addresses so that they cross protocols: an address of the router becomes a token that a
// client of another protocol can carry in its own reply property and publish to. A token is the permission to publish
// to its address, so it is signed.
package reply
