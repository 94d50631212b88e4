package amqp

import "tridge/core/message"

// inOneBlock is the size up to which head and body are one allocation.
const inOneBlock = 64 << 10

// headSlack is how much longer a head may be than the header frame it is made from, before it costs a copy.
const headSlack = 64

// A small message and its bytes are one allocation. Several messages in one would be fewer still, but a message that
// waits would keep its neighbours in memory, and what it is counted as would be a fraction of what it costs.
//
// The sizes are such that the whole is a size class of Go's allocator, or 8 bytes less above 512, where it keeps the type.
type (
	block256 struct {
		message message.Message
		room    [256 - messageSize]byte
	}
	block512 struct {
		message message.Message
		room    [512 - messageSize]byte
	}
	block1024 struct {
		message message.Message
		room    [1024 - 8 - messageSize]byte
	}
	block1280 struct {
		message message.Message
		room    [1280 - 8 - messageSize]byte
	}
	block2048 struct {
		message message.Message
		room    [2048 - 8 - messageSize]byte
	}
)

// messageSize is the size of message.Message where a pointer has 8 bytes.
const messageSize = 112

// newMessage returns an empty message, and room for so many bytes at least that belong to it.
func newMessage(room int) (*message.Message, []byte) {
	switch {
	case room <= len(block256{}.room):
		b := new(block256)
		return &b.message, b.room[:0]
	case room <= len(block512{}.room):
		b := new(block512)
		return &b.message, b.room[:0]
	case room <= len(block1024{}.room):
		b := new(block1024)
		return &b.message, b.room[:0]
	case room <= len(block1280{}.room):
		b := new(block1280)
		return &b.message, b.room[:0]
	case room <= len(block2048{}.room):
		b := new(block2048)
		return &b.message, b.room[:0]
	}
	return new(message.Message), make([]byte, 0, room)
}
