package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"tridge/admin"
	"tridge/core/broker"
)

// controlSocket is the file in the data directory through which "gateway log backup" reaches the gateway. Whoever may
// go through the directory may use it: that is its protection.
const controlSocket = "control.sock"

// maxSocketPath is what the address of a Unix socket holds on Linux, its final zero not counted.
const maxSocketPath = 107

// serveControl answers on the control socket until the returned function is called, which waits for what is under way to end.
// A gateway that cannot have the socket runs without.
func serveControl(ctx context.Context, data string, b *broker.Broker, log *slog.Logger) (stop func()) {
	path := filepath.Join(data, controlSocket)
	if len(path) > maxSocketPath {
		log.Warn("no control socket: its path is too long; backups need the gateway to be stopped", "path", path, "bytes", len(path), "at most", maxSocketPath)
		return func() {}
	}
	// The data directory is locked, so a socket in it is what a killed gateway has left.
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	var ln net.Listener
	if err == nil {
		ln, err = net.Listen("unix", path)
	}
	if err != nil {
		log.Warn("no control socket; backups need the gateway to be stopped", "path", path, "err", err)
		return func() {}
	}
	control := admin.NewControl(admin.ControlConfig{Log: log, Backup: func(ctx context.Context, dir string) (admin.Backup, error) {
		done, err := b.Backup(ctx, dir)
		return admin.Backup{Segments: done.Segments, Bytes: done.Bytes}, err
	}})
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	group.Go(func() {
		if err := control.Serve(serving, ln); err != nil {
			log.Warn("the control socket has failed; backups need the gateway to be stopped", "err", err)
		}
	})
	return func() {
		end()
		group.Wait()
	}
}
