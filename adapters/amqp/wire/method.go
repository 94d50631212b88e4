package wire

import "encoding/binary"

// ID names a method: its class id in the upper 16 bits, its method id in the lower.
type ID uint32

// Class returns the class id.
func (id ID) Class() uint16 { return uint16(id >> 16) }

// Method returns the method id.
func (id ID) Method() uint16 { return uint16(id) }

// Method is what every generated method can do.
type Method interface {
	ID() ID
	// Decode reads the arguments. Strings and tables alias src.
	Decode(src []byte) error
	// Append appends the arguments.
	Append(dst []byte) []byte
	// AppendFrame appends a whole method frame.
	AppendFrame(dst []byte, channel uint16) []byte
}

// SplitMethod splits the payload of a method frame into the method's id and its arguments, which alias it.
func SplitMethod(payload []byte) (ID, []byte, error) {
	if len(payload) < 4 {
		return 0, nil, ErrSyntax
	}
	return ID(binary.BigEndian.Uint32(payload)), payload[4:], nil
}

// Decode decodes the payload of a method frame into a new method, whose strings and tables alias payload. A nil
// method without an error means that the id is unknown. A server decodes into structs of its own after SplitMethod;
// this is for tests and tools.
func Decode(payload []byte) (Method, error) {
	id, arguments, err := SplitMethod(payload)
	if err != nil {
		return nil, err
	}
	m := newMethod(id)
	if m == nil {
		return nil, nil
	}
	return m, m.Decode(arguments)
}
