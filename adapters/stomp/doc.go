// Package stomp serves STOMP 1.0, 1.1 and 1.2 clients: it turns their frames into publishes, subscriptions and
// settlements of a router, and messages of any protocol into MESSAGE frames. It does not know the other protocols, the
// log, the broker or the configuration.
package stomp
