package broker

import (
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// Bounds of the body memory a broker takes unasked. It is for messages that are on their way: a backlog is in the log,
// and what is read from there comes in order and from the system's cache, which has the rest of the machine's memory and
// gives it back when somebody needs it.
const (
	bodyShare     = 16
	maxBodyMemory = 64 << 20
)

// DefaultBodyMemory is Config.BodyMemory when it is 0: a sixteenth of the smaller of the machine's memory and the limit
// of the control group, at most 64 MiB.
func DefaultBodyMemory() int64 { return bodyMemoryOf(hostFiles()) }

// hostFiles is where the system tells about itself.
func hostFiles() fs.FS { return os.DirFS("/") }

// memoryOf is the memory the process may use, math.MaxInt64 when nobody says.
func memoryOf(root fs.FS) int64 { return min(machineMemory(root), groupMemory(root)) }

func bodyMemoryOf(root fs.FS) int64 { return min(memoryOf(root)/bodyShare, maxBodyMemory) }

// machineMemory is the RAM as Linux tells it, math.MaxInt64 when nobody does.
func machineMemory(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return math.MaxInt64
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "MemTotal:" && fields[2] == "kB" {
			return limitIn(fields[1], 1<<10)
		}
	}
	return math.MaxInt64
}

// groupMemory is the smallest memory limit of the control groups the process is in: version 2 has one hierarchy,
// version 1 one for memory. Every group above counts as well.
func groupMemory(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return math.MaxInt64
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mount, file := "", ""
		switch {
		case parts[0] == "0" && parts[1] == "":
			mount, file = "sys/fs/cgroup", "memory.max"
		case strings.Contains(","+parts[1]+",", ",memory,"):
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path may be the host's and not be there: the mount itself is then the group's.
		for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
			if limit, err := fs.ReadFile(root, path.Join(mount, group, file)); err == nil {
				least = min(least, limitIn(strings.TrimSpace(string(limit)), 1))
			}
			if group == "/" {
				break
			}
		}
	}
	return least
}

// limitIn reads a number of units; a word ("max") or nonsense is no limit.
func limitIn(text string, unit int64) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return math.MaxInt64
	}
	return n * unit
}
