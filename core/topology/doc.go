// Package topology is what a routes file says, as plain data: addresses, exchanges, queues and routes, how they are
// resolved with the words of each protocol, and how the difference to what is there is applied to a router. It knows
// neither YAML nor files nor protocols.
package topology
