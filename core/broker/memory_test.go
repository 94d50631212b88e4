package broker

import (
	"testing"
	"testing/fstest"
)

func TestBodyMemoryIsASixteenthOfTheSmallestLimit(t *testing.T) {
	const machine = "MemTotal:       16777216 kB\nMemFree:  1 kB\n" // 16 GiB
	for _, test := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing known", nil, maxBodyMemory},
		{"machine", map[string]string{"proc/meminfo": "MemTotal: 524288 kB\n"}, 32 << 20},
		{"at most", map[string]string{"proc/meminfo": "MemTotal: 104857600 kB\n"}, maxBodyMemory},
		{"group", map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "536870912\n"}, 32 << 20},
		{"group above", map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n",
			"sys/fs/cgroup/a/memory.max": "268435456\n"}, 16 << 20},
		{"path of the host", map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "0::/docker/1\n", "sys/fs/cgroup/memory.max": "536870912\n"}, 32 << 20},
		{"version 1", map[string]string{"proc/meminfo": machine, "proc/self/cgroup": "4:cpu:/\n7:memory:/x\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "536870912\n"}, 32 << 20},
		{"version 1 without a limit", map[string]string{"proc/meminfo": "MemTotal: 524288 kB\n", "proc/self/cgroup": "7:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 32 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range test.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			if got := bodyMemoryOf(root); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}
