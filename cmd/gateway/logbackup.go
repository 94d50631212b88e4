package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"tridge/admin"
	"tridge/config"
	"tridge/core/broker"
	"tridge/internal/vfs"
)

// backupCommand carries out "gateway log backup": a running gateway copies its log itself, a stopped one's is copied here.
func backupCommand(ctx context.Context, args []string, stdout io.Writer) error {
	flags, data := dataFlags("backup")
	names, err := parseMixed(flags, args)
	if err != nil {
		return &usageError{fmt.Sprintf("log backup: %v", err)}
	}
	if len(names) != 1 {
		return &usageError{"log backup: name one directory, which is missing or empty"}
	}
	dir, err := filepath.Abs(names[0]) // the gateway may have been started elsewhere
	if err != nil {
		return err
	}
	if err := hasLog(*data); err != nil {
		return err
	}
	done, err := backupByGateway(ctx, filepath.Join(*data, controlSocket), dir)
	if errors.Is(err, errNoGateway) {
		var copied, failed = broker.BackupStopped(ctx, vfs.OS{}, *data, dir)
		done, err = admin.Backup{Segments: copied.Segments, Bytes: copied.Bytes}, failed
	}
	switch {
	case errors.Is(err, broker.ErrInUse):
		return fmt.Errorf("log backup: a gateway is running on %s and cannot be reached through %s: its log says why; stop it first", *data, controlSocket)
	case err != nil:
		return fmt.Errorf("log backup: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "%s: %d segments, %d bytes\n", names[0], done.Segments, done.Bytes)
	return err
}

// errNoGateway says that nobody listens on a control socket.
var errNoGateway = errors.New("no gateway is running")

// backupByGateway asks whoever listens on socket to back up to dir. Should ctx end the gateway notices.
func backupByGateway(ctx context.Context, socket, dir string) (admin.Backup, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	body, err := json.Marshal(admin.BackupRequest{Dir: dir})
	if err != nil {
		return admin.Backup{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gateway/log/backup", bytes.NewReader(body))
	if err != nil {
		return admin.Backup{}, err
	}
	response, err := client.Do(request)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EINVAL) { // the last: a path too long
		return admin.Backup{}, errNoGateway
	}
	if err != nil {
		return admin.Backup{}, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		var problem admin.ControlProblem
		if err := json.NewDecoder(response.Body).Decode(&problem); err != nil {
			return admin.Backup{}, fmt.Errorf("the gateway answers %s: %w", response.Status, err)
		}
		return admin.Backup{}, errors.New(problem.Reason)
	}
	var done admin.Backup
	return done, json.NewDecoder(response.Body).Decode(&done)
}

// dataFlags are the flags of commands that work on a data directory.
func dataFlags(command string) (flags *flag.FlagSet, data *string) {
	flags = flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	preset := config.Default().Data
	if said := os.Getenv("GATEWAY_DATA"); said != "" {
		preset = said
	}
	return flags, flags.String("data", preset, "")
}

// parseMixed parses flags wherever they stand among the arguments, and returns the arguments that are none.
func parseMixed(flags *flag.FlagSet, args []string) (names []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return names, nil
		}
		names = append(names, flags.Arg(0))
		args = flags.Args()[1:]
	}
}

// hasLog returns an error unless data is a data directory that a gateway has been started on.
func hasLog(data string) error {
	if err := isDirectory(filepath.Join(data, "log")); err != nil {
		return fmt.Errorf("%s is no data directory: %w", data, err)
	}
	return nil
}

// isDirectory returns an error unless path is a directory: these commands make none.
func isDirectory(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", path)
	}
	return err
}
