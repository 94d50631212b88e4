package wire

import "strconv"

// FormatError says that the peer's bytes are not a frame. STOMP knows no recovery from it: the connection ends.
type FormatError struct{ Text string }

func (e *FormatError) Error() string { return "stomp: malformed frame: " + e.Text }

// LimitError says that a frame is larger than the reader's Limits.
type LimitError struct {
	What  string // "headers", "header bytes" or "body bytes"
	Limit int
}

func (e *LimitError) Error() string {
	return "stomp: frame has more than " + strconv.Itoa(e.Limit) + " " + e.What
}

func malformed(text string) error { return &FormatError{text} }
