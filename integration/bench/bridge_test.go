package main

import (
	"context"
	"os"
	"strings"
	"testing"
)

// The devices are this program, started anew.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "devices" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestDevicesPublishIntoAQueueOfAMQPAndAreReached(t *testing.T) {
	var out strings.Builder
	err := run(context.Background(), []string{"bridge", "-root", "../..", "-directory", t.TempDir(),
		"-devices", "400", "-processes", "2", "-messages", "10", "-interval", "50ms", "-settle", "0", "-rounds", "3"}, &out, os.Stderr)
	t.Log("\n" + out.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"400 idle connections", "4000 messages at QoS 1", "one message to 400 subscribers"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing is said of %q", want)
		}
	}
}
