package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is the unit of times in /proc: USER_HZ, 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// CPU is the user and system time the process has used so far, good to 10 ms.
func (p *Process) CPU() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.ID()))
	if err != nil {
		return 0, err
	}
	// The name of the program, field 2, is in parentheses and may hold anything; utime and stime are fields 14 and 15.
	_, rest, _ := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", p.ID(), len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// Memory is how much of it the process has in RAM, in bytes: now, and at most since it was started.
func (p *Process) Memory() (now, most int64, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.ID()))
	if err != nil {
		return 0, 0, err
	}
	found := map[string]int64{}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[2] == "kB" {
			if found[fields[0]], err = strconv.ParseInt(fields[1], 10, 64); err != nil {
				return 0, 0, err
			}
		}
	}
	return found["VmRSS:"] << 10, found["VmHWM:"] << 10, nil
}

// Allocations is how many objects, and how many bytes in all, the process has allocated on its heap since it was started.
func (p *Process) Allocations() (objects, bytes uint64, err error) {
	response, err := http.Get("http://" + p.HTTP() + "/debug/pprof/allocs?debug=1") // ends with runtime.MemStats
	if err != nil {
		return 0, 0, err
	}
	defer response.Body.Close()
	found := map[string]uint64{}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "# "), " = ")
		if !ok || name != "Mallocs" && name != "TotalAlloc" {
			continue
		}
		if found[name], err = strconv.ParseUint(value, 10, 64); err != nil {
			return 0, 0, err
		}
	}
	if len(found) != 2 {
		return 0, 0, errors.Join(lines.Err(), fmt.Errorf("%s says nothing of allocations", response.Request.URL))
	}
	return found["Mallocs"], found["TotalAlloc"], nil
}

// Profile writes a CPU profile of the next so many whole seconds to file, for go tool pprof.
func (p *Process) Profile(seconds int, file string) (err error) {
	response, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", p.HTTP(), seconds))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, response.Body)
	return err
}

// Descriptors is the number of files and sockets the process has open.
func (p *Process) Descriptors() (int, error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.ID()))
	return len(list), err
}

// Threads is the number of the process's threads.
func (p *Process) Threads() (int, error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.ID()))
	return len(list), err
}

// Goroutines ends the process with SIGQUIT and returns the stacks of all its goroutines, one per element.
func (p *Process) Goroutines() ([]string, error) {
	before := len(p.Log())
	if err := p.command.Process.Signal(syscall.SIGQUIT); err != nil {
		return nil, err
	}
	select {
	case <-p.exited:
	case <-time.After(stopExpiry):
		return nil, fmt.Errorf("the gateway did not exit within %v of SIGQUIT", stopExpiry)
	}
	var stacks []string
	for stack := range strings.SplitSeq(p.Log()[before:], "\n\n") {
		if strings.HasPrefix(strings.TrimSpace(stack), "goroutine ") {
			stacks = append(stacks, stack)
		}
	}
	return stacks, nil
}
