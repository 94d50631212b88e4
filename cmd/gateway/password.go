package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"tridge/core/auth"
)

// maxPassword is the longest line that is read as a password, in bytes.
const maxPassword = 4096

// hashPassword reads a line and prints what gateway.yaml has of it. The password comes by standard input and not as an argument, where
// everybody on the machine could read it.
func hashPassword(stdin io.Reader, stdout io.Writer) error {
	line, err := bufio.NewReader(io.LimitReader(stdin, maxPassword+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	password := strings.TrimRight(line, "\r\n")
	switch {
	case password == "":
		return errors.New("hash-password: no password on standard input")
	case len(password) > maxPassword:
		return fmt.Errorf("hash-password: the password has more than %d bytes", maxPassword)
	}
	var salt [4]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return err
	}
	var longer [16]byte
	if _, err := rand.Read(longer[:]); err != nil {
		return err
	}
	keys, err := auth.SCRAMHash(longer, []byte(password))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "password-hash: %q\nscram-sha-256: %q\n", auth.Hash(salt, []byte(password)), keys)
	return err
}
