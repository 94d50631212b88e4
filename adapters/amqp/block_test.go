package amqp

import (
	"testing"
	"unsafe"

	"tridge/core/message"
)

// TestBlocksFillTheirSizeClasses: a message that grows would make every small one cost the next class.
func TestBlocksFillTheirSizeClasses(t *testing.T) {
	if n := unsafe.Sizeof(message.Message{}); n != messageSize {
		t.Errorf("a message has %d bytes, not %d", n, messageSize)
	}
	for size, is := range map[uintptr]uintptr{
		256: unsafe.Sizeof(block256{}), 512: unsafe.Sizeof(block512{}), 1024 - 8: unsafe.Sizeof(block1024{}),
		1280 - 8: unsafe.Sizeof(block1280{}), 2048 - 8: unsafe.Sizeof(block2048{}),
	} {
		if is != size {
			t.Errorf("a block of %d bytes, not %d", is, size)
		}
	}
}

func TestNewMessageHasRoom(t *testing.T) {
	for room := range 3000 {
		m, block := newMessage(room)
		if len(block) != 0 || cap(block) < room || cap(block) > 2*room+256 {
			t.Fatalf("asked for %d bytes: %d of %d", room, len(block), cap(block))
		}
		if m.Head != nil || m.Body != nil || m.Key != "" {
			t.Fatalf("not empty: %+v", m)
		}
	}
}
