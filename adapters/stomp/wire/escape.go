package wire

import "bytes"

// unescape undoes the version's escapes in place. STOMP 1.2, "Value Encoding": an undefined escape is fatal.
func unescape(s []byte, v Version) ([]byte, bool) {
	first := bytes.IndexByte(s, '\\')
	if first < 0 {
		return s, true
	}
	to := first
	for i := first; i < len(s); i++ {
		c := s[i]
		if c == '\\' {
			i++
			switch {
			case i == len(s):
				return nil, false
			case s[i] == '\\':
			case s[i] == 'n':
				c = '\n'
			case s[i] == 'c':
				c = ':'
			case s[i] == 'r' && v >= V12:
				c = '\r'
			default:
				return nil, false
			}
		}
		s[to] = c
		to++
	}
	return s[:to], true
}
