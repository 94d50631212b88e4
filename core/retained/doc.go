// Package retained keeps the last value of each key of the topic exchange, for every protocol: the message that a new
// subscriber gets first. Bodies stay in the log; in memory there is a trie of keys and positions. It knows no protocol.
package retained
