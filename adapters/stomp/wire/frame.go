package wire

// Version is a version of the protocol. The zero Version is "not negotiated yet".
type Version uint8

const (
	V10 Version = iota + 1
	V11
	V12
)

// String returns the version as the accept-version and version headers write it.
func (v Version) String() string {
	switch v {
	case V10:
		return "1.0"
	case V11:
		return "1.1"
	case V12:
		return "1.2"
	}
	return "unknown"
}

// The commands of the three versions. STOMP 1.2, "Augmented BNF".
const (
	Connect     = "CONNECT"
	Stomp       = "STOMP"
	Connected   = "CONNECTED"
	Send        = "SEND"
	Subscribe   = "SUBSCRIBE"
	Unsubscribe = "UNSUBSCRIBE"
	Ack         = "ACK"
	Nack        = "NACK"
	Begin       = "BEGIN"
	Commit      = "COMMIT"
	Abort       = "ABORT"
	Disconnect  = "DISCONNECT"
	Message     = "MESSAGE"
	Receipt     = "RECEIPT"
	Error       = "ERROR"
)

// longestCommand is the length of the longest of them: a first line that is longer is refused before it has ended.
const longestCommand = len(Unsubscribe)

// command returns the constant that name spells, "" for none, without allocating.
func command(name []byte) string {
	switch string(name) {
	case Connect:
		return Connect
	case Stomp:
		return Stomp
	case Connected:
		return Connected
	case Send:
		return Send
	case Subscribe:
		return Subscribe
	case Unsubscribe:
		return Unsubscribe
	case Ack:
		return Ack
	case Nack:
		return Nack
	case Begin:
		return Begin
	case Commit:
		return Commit
	case Abort:
		return Abort
	case Disconnect:
		return Disconnect
	case Message:
		return Message
	case Receipt:
		return Receipt
	case Error:
		return Error
	}
	return ""
}

// Header is one header of a frame, unescaped.
type Header struct{ Name, Value string }

// Frame is one frame as a Reader hands it out. Its headers, and its body unless BodyOwned is set, alias the reader's
// buffer: they are valid until the next call of Reader.Next, and whoever keeps one clones it.
type Frame struct {
	Command string // one of the constants, never aliasing
	Headers []Header
	Body    []byte
	// BodyOwned says that Body is memory of its own and the caller may keep it.
	BodyOwned bool
}

// Get returns the value of the first header of that name. STOMP 1.2, "Repeated Header Entries".
func (f *Frame) Get(name string) (string, bool) {
	for i := range f.Headers {
		if f.Headers[i].Name == name {
			return f.Headers[i].Value, true
		}
	}
	return "", false
}

// Limits bounds what a Reader accepts before it allocates for it.
type Limits struct {
	Headers     int // headers of one frame
	HeaderBytes int // bytes of the command and the headers of one frame, as sent
	Body        int // bytes of a body
}
