package amqp

import (
	"encoding/binary"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tridge/core/session"
	"tridge/internal/wiretest"
)

// TestConversations replays the golden conversations of testdata in virtual time.
func TestConversations(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal("no conversations: ", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			wiretest.Conversation{
				NewServer: func(t *testing.T) (wiretest.Server, func()) {
					b := newBench(t, Limits{})
					b.server.platform = "Go"
					if filepath.Base(file) == "blocked.txt" { // an alarm from before the beginning
						b.gate.Set(session.Disk, true)
						time.AfterFunc(50*time.Second, func() { b.gate.Set(session.Disk, false) })
					}
					return b.server.ServeConn, b.drain
				},
				Cut: cutFrame,
			}.Replay(t, file)
		})
	}
}

// cutFrame is the number of octets of the first frame, or of a protocol header.
func cutFrame(sent []byte) int {
	switch {
	case len(sent) >= len(protocolHeader) && sent[0] == protocolHeader[0]:
		return len(protocolHeader)
	case len(sent) < 8:
		return 0
	}
	size := int(binary.BigEndian.Uint32(sent[3:])) + 8
	if len(sent) < size {
		return 0
	}
	return size
}
