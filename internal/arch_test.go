// Package internal holds the rules of the house.
package internal

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "tridge/"

// mayImport is the import table: which packages of ours each package may use. A package that is not listed fails the
// test, so a new one needs a line here and with it a thought.
var mayImport = map[string][]string{
	"core/message":         {},
	"core/confirm":         {},
	"core/queue":           {"core/message", "core/confirm"},
	"core/queue/queuetest": {"core/message", "core/confirm", "core/queue"},
	"core/wal":             {"core/message", "core/confirm", "core/queue", "internal/vfs"},
	"core/selector":        {"core/message"},
	"core/router":          {"core/message", "core/confirm", "core/queue", "core/selector"},
	"core/topology":        {"core/message", "core/confirm", "core/queue", "core/router"},
	"core/session":         {"core/message", "core/queue", "core/confirm"},
	"core/auth":            {},
	"core/reply":           {},
	"core/retained":        {"core/message", "core/queue"},
	"core/broker": {"core/message", "core/confirm", "core/wal", "core/queue", "core/router", "core/topology",
		"core/session", "core/auth", "core/reply", "core/retained", "internal/vfs"},

	"adapters/amqp":          append(adapter, "adapters/amqp/wire"),
	"adapters/amqp/wire":     {"core/message"},
	"adapters/amqp/wire/gen": {},
	"adapters/stomp":         append(adapter, "adapters/stomp/wire"),
	"adapters/stomp/wire":    {},
	"adapters/mqtt":          adapter,

	"transport":            {"transport/proxyproto"},
	"transport/proxyproto": {},
	"transport/websocket":  {},

	"admin":  {"core/broker", "core/session", "core/wal", "core/router", "core/queue", "core/topology", "core/auth", "core/message"},
	"config": {"core/topology", "core/queue", "core/router"},

	"internal/vfs":      {},
	"internal/certtest": {},
	"internal/wiretest": {},
	"internal":          {},
}

// adapter is what every adapter may use: never another adapter, the log, the broker or the configuration.
var adapter = []string{"core/message", "core/confirm", "core/queue", "core/router", "core/topology", "core/session",
	"core/auth", "core/retained", "core/selector"}

// everything may be imported by the programs and by the tests that use all of it.
var unrestricted = []string{"cmd/gateway", "integration"}

// thirdParty says where modules that are not ours may be used.
var thirdParty = map[string][]string{
	"github.com/mochi-mqtt/server/v2":     {"adapters/mqtt"},
	"gopkg.in/yaml.v3":                    {"config"},
	"golang.org/x/sys":                    {"internal/vfs", "integration"},
	"github.com/rabbitmq/amqp091-go":      {"integration"},
	"github.com/go-stomp/stomp/v3":        {"integration"},
	"github.com/eclipse/paho.golang":      {"integration"},
	"github.com/eclipse/paho.mqtt.golang": {"integration"},
	"github.com/coder/websocket":          {"transport/websocket"},
	"pgregory.net/rapid":                  {"core/broker"}, // its tests
}

type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Standard                           bool
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	command.Dir = ".."
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func TestImportsFollowTheTable(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		if slices.ContainsFunc(unrestricted, func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") }) {
			continue
		}
		allowed, listed := mayImport[path]
		if !listed {
			t.Errorf("%s is not in the import table", path)
			continue
		}
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s", path, ours)
			}
		}
	}
}

func TestForeignModulesStayInTheirRooms(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if !strings.Contains(strings.SplitN(i, "/", 2)[0], ".") {
				continue // the standard library, or ours
			}
			allowed := false
			for foreign, rooms := range thirdParty {
				if i != foreign && !strings.HasPrefix(i, foreign+"/") {
					continue
				}
				allowed = slices.ContainsFunc(rooms, func(room string) bool { return path == room || strings.HasPrefix(path, room+"/") })
			}
			if !allowed {
				t.Errorf("%s imports %s", path, i)
			}
		}
	}
}

// TestCodecHasOneDoor keeps mochi's packets replaceable: one file of the MQTT adapter knows them.
func TestCodecHasOneDoor(t *testing.T) {
	out, err := exec.Command("grep", "-rl", "--include=*.go", "--exclude=*_test.go", "mochi-mqtt/server", "../adapters").Output()
	if err != nil {
		t.Fatalf("grep: %v", err)
	}
	if files := strings.Fields(string(out)); len(files) != 1 {
		t.Errorf("the codec is imported by %q", files)
	}
}
