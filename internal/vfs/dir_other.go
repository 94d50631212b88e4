//go:build !unix

package vfs

// syncDir does nothing where directories cannot be opened: there the file system journals names by itself.
func syncDir(string) error { return nil }
