package topology

// Address is a place messages come from or go to, in the words of the router. Exactly one of the two forms is used:
// a queue, or an exchange with a key.
type Address struct {
	Queue    string // a queue, when not ""
	Exchange string // an exchange, with
	Key      string // a routing key, or a binding pattern when the address is where messages come from
	NoDollar bool   // the pattern came from an MQTT filter that begins with a wildcard: keys that begin with $ do not match
}
