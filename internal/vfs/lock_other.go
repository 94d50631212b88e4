//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package vfs

import (
	"errors"
	"os"
)

func lockFile(*os.File) error { return errors.ErrUnsupported }
