package mqtt

import (
	"strings"
	"unicode/utf8"
)

const (
	maxTopic = 65_535 // bytes of a topic name or filter [MQTT-4.7.3-3]

	// replyPrefix begins the only topics with a $ that a client may publish to: reply addresses of other protocols.
	replyPrefix = "$reply/"

	sharePrefix = "$share/" // begins filters of shared subscriptions, and the names of their queues
	queuePrefix = "$queue/" // begins filters that name a queue
)

// swapByte exchanges the separators and the one-level wildcards of topics and routing keys. It is its own inverse, so
// a topic comes back as it went in, and the number of levels is the number of words.
func swapByte(c byte) byte {
	switch c {
	case '/':
		return '.'
	case '.':
		return '/'
	case '+':
		return '*'
	case '*':
		return '+'
	}
	return c
}

// appendSwapped appends the routing key of a topic, the binding key of a filter, or the reverse.
func appendSwapped(dst []byte, s string) []byte {
	for i := range len(s) {
		dst = append(dst, swapByte(s[i]))
	}
	return dst
}

// swap is appendSwapped into a string of its own.
func swap(s string) string { return string(appendSwapped(make([]byte, 0, len(s)), s)) }

const upperHex = "0123456789ABCDEF"

// appendTopic appends the topic of a routing key. What a topic cannot hold is percent-encoded: '#', a '*' (it would
// become a wildcard), NUL and bytes that are not UTF-8. encoded says that it happened; it never does for a key that
// came from MQTT.
func appendTopic(dst []byte, key string) (topic []byte, encoded bool) {
	for i := 0; i < len(key); {
		c := key[i]
		size := 1
		illegal := c == '#' || c == '*' || c == 0
		if c >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRuneInString(key[i:])
			illegal = r == utf8.RuneError && size == 1
		}
		switch {
		case illegal:
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
			encoded = true
		case size > 1:
			dst = append(dst, key[i:i+size]...)
		default:
			dst = append(dst, swapByte(c))
		}
		i += size
	}
	return dst, encoded
}

// validTopicName checks a topic that a client publishes to. UTF-8 and NUL are the codec's business.
func validTopicName(topic string) bool {
	return topic != "" && !strings.ContainsAny(topic, "+#")
}

// validFilter checks that wildcards stand alone in their level and '#' is the last one [MQTT-4.7.1-1] [MQTT-4.7.1-2].
func validFilter(filter string) bool {
	if filter == "" {
		return false
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if len(level) > 1 && strings.ContainsAny(level, "+#") || level == "#" && more {
			return false
		}
	}
	return true
}

// beginsWithWildcard reports whether the filter must not match topics that begin with $ [MQTT-4.7.2-1].
func beginsWithWildcard(filter string) bool {
	return filter != "" && (filter[0] == '+' || filter[0] == '#')
}

// matchKey reports whether pattern, the swapped form of a valid filter, matches a routing key. It allocates nothing.
func matchKey(pattern, key string) bool {
	if key != "" && key[0] == '$' && pattern != "" && (pattern[0] == '*' || pattern[0] == '#') {
		return false
	}
	for {
		if pattern == "#" {
			return true
		}
		want, patternRest, patternMore := strings.Cut(pattern, ".")
		word, keyRest, keyMore := strings.Cut(key, ".")
		if want != "*" && want != word {
			return false
		}
		switch {
		case !patternMore && !keyMore:
			return true
		case !keyMore: // the parent level matches too: a/# and a [4.7.1.2]
			return patternRest == "#"
		case !patternMore:
			return false
		}
		pattern, key = patternRest, keyRest
	}
}
