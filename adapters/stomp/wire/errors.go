package wire

import "strconv"

// FormatError says that the peer's bytes are not a frame. STOMP knows no recovery from it: the connection ends.
type FormatError struct {
	Text    string
	Command string // that is none, as far as it could be read; "" when something else is wrong
}

func (e *FormatError) Error() string { return "stomp: malformed frame: " + e.Text }

// LimitError says that a frame is larger than the reader's Limits.
type LimitError struct {
	What  string // "headers", "header bytes" or "body bytes"
	Limit int
}

func (e *LimitError) Error() string {
	return "stomp: frame has more than " + strconv.Itoa(e.Limit) + " " + e.What
}

func malformed(text string) error { return &FormatError{Text: text} }

// unknownCommand says that a frame begins with a word that is no command. It is told only where it is one of capitals:
// who speaks another protocol is not told what it said.
func unknownCommand(word []byte) error {
	e := &FormatError{Text: "unknown command"}
	for _, c := range word {
		if c < 'A' || c > 'Z' {
			return e
		}
	}
	e.Command = string(word)
	return e
}
