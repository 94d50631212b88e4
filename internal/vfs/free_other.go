//go:build !(darwin || linux || windows)

package vfs

import "errors"

// freeSpace is not known here: only a disk that is full is noticed.
func freeSpace(string) (uint64, error) { return 0, errors.ErrUnsupported }

func systemNoSpace(error) bool { return false }
