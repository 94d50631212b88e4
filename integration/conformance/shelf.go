package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// shelf keeps what has been fetched, so that it is fetched once.
type shelf struct {
	directory string
	out       io.Writer // told what is fetched
	listed    bool      // the lists of source packages are there
}

// newShelf returns the shelf in directory; in the user's cache when that is "".
func newShelf(directory string, out io.Writer) (*shelf, error) {
	if directory == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no folder to keep suites in: %w; choose one", err)
		}
		directory = filepath.Join(cache, "tridge-conformance")
	}
	directory, err := filepath.Abs(directory)
	if err != nil {
		return nil, err
	}
	return &shelf{directory: directory, out: out}, os.MkdirAll(directory, 0o755)
}

// releases of Debian whose source packages are looked at.
var releases = [...]string{"bookworm", "trixie"}

// source returns the folder of a source package as its authors released it, without Debian's changes.
func (s *shelf) source(ctx context.Context, name, version string) (string, error) {
	to := filepath.Join(s.directory, name+"-"+version)
	if _, err := os.Stat(to); err == nil {
		return to, nil
	}
	if err := s.list(ctx); err != nil {
		return "", err
	}
	fmt.Fprintf(s.out, "fetching the source of %s %s from Debian into %s\n", name, version, s.directory)
	work, err := os.MkdirTemp(s.directory, name)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	// Mirrors lose archives that a package has besides, and apt-get fails for each of them: what counts is the one we want.
	_, problem := command(ctx, work, nil, "apt-get", append(s.apt(), "source", "--download-only", "--tar-only", name+"="+version)...)
	found, err := filepath.Glob(filepath.Join(work, "*.orig.tar.*"))
	found = slices.DeleteFunc(found, func(file string) bool { return strings.HasSuffix(file, ".asc") })
	if err != nil || len(found) != 1 {
		return "", errors.Join(problem, fmt.Errorf("apt-get source %s: archives %q, %w", name, found, err))
	}
	unpacked := filepath.Join(work, "unpacked")
	if err := os.Mkdir(unpacked, 0o755); err != nil {
		return "", err
	}
	if _, err := command(ctx, work, nil, "tar", "-xf", found[0], "-C", unpacked); err != nil {
		return "", errors.Join(problem, err)
	}
	return to, os.Rename(unpacked, to)
}

// list fetches the lists of source packages, apart from those of the system.
func (s *shelf) list(ctx context.Context) error {
	if s.listed {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("there is no apt-get here to fetch suites with")
	}
	var text bytes.Buffer
	for _, release := range releases {
		fmt.Fprintf(&text, "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian %s main\n", release)
	}
	if err := os.MkdirAll(filepath.Join(s.directory, "lists", "partial"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.directory, "sources.list"), text.Bytes(), 0o644); err != nil {
		return err
	}
	_, err := command(ctx, s.directory, nil, "apt-get", append(s.apt(), "update", "-qq")...)
	s.listed = err == nil
	return err
}

func (s *shelf) apt() []string {
	return []string{
		"-o", "Dir::Etc::sourcelist=" + filepath.Join(s.directory, "sources.list"), "-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "Dir::State::lists=" + filepath.Join(s.directory, "lists"),
	}
}

// command runs a program and returns what it printed. The error holds the end of that.
func command(ctx context.Context, directory string, environment []string, name string, arguments ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, name, arguments...)
	c.Dir, c.Env = directory, append(os.Environ(), environment...)
	c.WaitDelay = time.Second // its children may hold its output open
	out, err := c.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(arguments, " "), err, out[max(0, len(out)-2000):])
	}
	return out, nil
}

// transplant copies a folder. The text of files with one of the endings goes through edit, and may become nil: then the file
// is left out.
func transplant(from, to string, endings []string, edit func(path string, text []byte) []byte) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		info, err := d.Info()
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case !info.Mode().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if slices.Contains(endings, filepath.Ext(path)) {
			if text = edit(filepath.ToSlash(relative), text); text == nil {
				return nil
			}
		}
		return os.WriteFile(target, text, info.Mode().Perm())
	})
}

// only returns the one folder in directory that matches pattern.
func only(directory, pattern string) (string, error) {
	found, err := filepath.Glob(filepath.Join(directory, pattern))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%d folders %s in %s, %w", len(found), pattern, directory, err)
	}
	return found[0], nil
}
