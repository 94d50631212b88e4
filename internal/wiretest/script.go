package wiretest

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// kind says what one line of a script does.
type kind uint8

const (
	note   kind = iota // a comment or an empty line, kept when the script is rewritten
	client             // C: bytes the client sends
	hangup             // C: close: the client closes the connection
	server             // S: bytes the server must send
	closed             // S: close: the server must close the connection
	pause              // T: 10s: virtual time passes
)

const closeWord = "close"

// line is one line of a script.
type line struct {
	kind   kind
	number int
	text   string // as written
	data   []byte
	time   time.Duration
}

// parseScript reads a script. Bytes are written as pairs of hexadecimal digits and as quoted Go strings, separated by
// blanks; a line that begins with # says nothing.
func parseScript(src string) ([]line, error) {
	var script []line
	for i, text := range strings.Split(strings.TrimSuffix(src, "\n"), "\n") {
		l := line{number: i + 1, text: text}
		who, rest, _ := strings.Cut(text, ":")
		rest = strings.TrimSpace(rest)
		var err error
		switch {
		case strings.TrimSpace(text) == "" || strings.HasPrefix(text, "#"):
			l.kind = note
		case who == "C" && rest == closeWord:
			l.kind = hangup
		case who == "S" && rest == closeWord:
			l.kind = closed
		case who == "C":
			l.kind = client
			l.data, err = parseBytes(rest)
		case who == "S":
			l.kind = server
			l.data, err = parseBytes(rest)
		case who == "T":
			l.kind = pause
			l.time, err = time.ParseDuration(rest)
		default:
			err = fmt.Errorf("a line begins with C:, S:, T: or #")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", l.number, err)
		}
		script = append(script, l)
	}
	return script, nil
}

func parseBytes(text string) ([]byte, error) {
	var data []byte
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimLeft(text, " ") {
		if text[0] == '"' {
			quoted, err := strconv.QuotedPrefix(text)
			if err != nil {
				return nil, fmt.Errorf("unterminated text: %s", text)
			}
			plain, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, err
			}
			data, text = append(data, plain...), text[len(quoted):]
			continue
		}
		word, rest, _ := strings.Cut(text, " ")
		raw, err := hex.DecodeString(word)
		if err != nil {
			return nil, fmt.Errorf("%q is neither hexadecimal nor quoted", word)
		}
		data, text = append(data, raw...), rest
	}
	return data, nil
}

// shortestText is the number of printable octets in a row that are shown as text: fewer are as likely numbers.
const shortestText = 3

// formatBytes writes data as parseBytes reads it: text where it is text, else hexadecimal.
func formatBytes(data []byte) string {
	if isText(data) {
		return strconv.Quote(string(data))
	}
	var b strings.Builder
	for len(data) > 0 {
		n := 0
		for n < len(data) && printable(data[n]) {
			n++
		}
		switch {
		case n >= shortestText:
			b.WriteString(strconv.Quote(string(data[:n])))
		default:
			n = max(n, 1)
			fmt.Fprintf(&b, "% x", data[:n])
		}
		if data = data[n:]; len(data) > 0 {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func printable(c byte) bool { return ' ' <= c && c <= '~' }

// isText reports whether all of data is text: printable but for line ends, and a closing NUL.
func isText(data []byte) bool {
	for i, c := range data {
		if !printable(c) && c != '\n' && c != '\r' && (c != 0 || i != len(data)-1) {
			return false
		}
	}
	return len(data) >= shortestText
}
