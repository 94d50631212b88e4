//go:build darwin || linux

package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// freeSpace leaves out what the system keeps for the administrator.
func freeSpace(path string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}

func systemNoSpace(error) bool { return false }
