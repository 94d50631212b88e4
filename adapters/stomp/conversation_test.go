package stomp

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

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
					h := buildHouse(t)
					h.server.newSession = func() string { return "5e55" }
					return h.server.ServeConn, func() { h.stop(); h.nobodyHolds() }
				},
				Cut: func(sent []byte) int {
					if sent[0] == '\n' { // a heart-beat
						return 1
					}
					end := 1 + bytes.IndexByte(sent, 0)
					if end < len(sent) && sent[end] == '\n' {
						end++
					}
					return end
				},
			}.Replay(t, file)
		})
	}
}
