package wire

import "strconv"

// Appender appends frames in one version of the protocol: Begin, any number of Header calls, then Body or End. A line end
// follows each frame, as RabbitMQ and ActiveMQ write it: PHP's client takes frames that follow each other without one
// for broken.
// It is a value; every goroutine has its own.
type Appender struct {
	Version Version
	// Replaced counts the octets that this version cannot hold in a header and that a space stands for: NUL in any
	// version, CR in 1.0 and 1.1, LF in 1.0, a colon in a name in 1.0; and the headers left out for want of a name.
	Replaced uint64
}

// Begin appends the command of a frame.
func (a *Appender) Begin(dst []byte, command string) []byte {
	dst = append(dst, command...)
	return append(dst, '\n')
}

// Header appends one header, escaped as the version says. STOMP 1.2, "Value Encoding".
func (a *Appender) Header(dst []byte, name, value string) []byte {
	if name == "" {
		a.Replaced++
		return dst
	}
	return a.CloseHeader(a.Part(a.OpenHeader(dst, name), value))
}

// OpenHeader appends the name of a header whose value follows in parts.
func (a *Appender) OpenHeader(dst []byte, name string) []byte {
	return append(a.escape(dst, name, true), ':')
}

// Part appends a part of the value of an open header, escaped.
func (a *Appender) Part(dst []byte, value string) []byte { return a.escape(dst, value, false) }

// CloseHeader ends an open header.
func (a *Appender) CloseHeader(dst []byte) []byte { return append(dst, '\n') }

// IntHeader appends one header whose value is a decimal number.
func (a *Appender) IntHeader(dst []byte, name string, value int64) []byte {
	return a.CloseHeader(strconv.AppendInt(a.OpenHeader(dst, name), value, 10))
}

// RawHeader appends one header as it is. CONNECT and CONNECTED are never escaped, whatever the version; the octets
// that would end the header are replaced.
func (a *Appender) RawHeader(dst []byte, name, value string) []byte {
	raw := Appender{Version: V10}
	dst = raw.Header(dst, name, value)
	a.Replaced += raw.Replaced
	return dst
}

// Body appends the content-length header, ends the headers and appends the body and the end of the frame.
func (a *Appender) Body(dst, body []byte) []byte {
	dst = append(dst, "content-length:"...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	dst = append(dst, "\n\n"...)
	dst = append(dst, body...)
	return append(dst, 0, '\n')
}

// End ends a frame that has no body.
func (a *Appender) End(dst []byte) []byte { return append(dst, '\n', 0, '\n') }

func (a *Appender) escape(dst []byte, s string, name bool) []byte {
	plain := 0
	for i := range len(s) {
		if c := s[i]; c > '\r' && c != ':' && c != '\\' {
			continue
		}
		dst = append(dst, s[plain:i]...)
		dst = a.octet(dst, s[i], name)
		plain = i + 1
	}
	return append(dst, s[plain:]...)
}

// octet appends one octet that some version must not write raw.
func (a *Appender) octet(dst []byte, c byte, name bool) []byte {
	escapes := a.Version >= V11
	switch {
	case c == '\\' && escapes:
		return append(dst, `\\`...)
	case c == ':' && escapes:
		return append(dst, `\c`...)
	case c == '\n' && escapes:
		return append(dst, `\n`...)
	case c == '\r' && a.Version >= V12:
		return append(dst, `\r`...)
	case c != 0 && c != '\r' && c != '\n' && (c != ':' || !name):
		return append(dst, c)
	}
	a.Replaced++
	return append(dst, ' ')
}
