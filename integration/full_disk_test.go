package integration

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sys/unix"

	"tridge/integration/gateway"
)

// smallDisk is set in the process that has a file system of its own.
const smallDisk = "TRIDGE_SMALL_DISK"

// TestFullDiskIsSurvived fills the file system under a gateway. It needs one that is small, so it runs itself once more
// where it may mount: in a mount namespace that goes with it, which a user namespace makes possible for anybody where
// the system allows those. Where it does not, that the log holds out is shown by core/wal's injected faults only, and
// this test says so.
func TestFullDiskIsSurvived(t *testing.T) {
	if os.Getenv(smallDisk) != "" {
		fullDisk(t)
		return
	}
	again := exec.Command(os.Args[0], "-test.run=^TestFullDiskIsSurvived$", "-test.v")
	again.Env = append(os.Environ(), smallDisk+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := again.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || bytes.Contains(out, []byte(noMount)) {
		t.Logf("NOT SHOWN HERE: this system lets nobody mount a file system of a test's own: %v", err)
		return
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

const noMount = "a file system cannot be mounted"

func fullDisk(t *testing.T) {
	const size = 288 << 20 // four segments and a half
	directory := t.TempDir()
	if err := unix.Mount("tmpfs", directory, "tmpfs", 0, "size=288m"); err != nil {
		t.Fatal(noMount, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(directory, unix.MNT_DETACH) })
	arguments := configured(t, "alarms: {disk-free-limit: 0}\n")
	g, err := gateway.Start(gateway.Options{Binary: program, Data: filepath.Join(directory, "data"), Arguments: arguments})
	g = watch(t, g, err)
	a, consumer := newAMQP(t, g), newAMQP(t, g)
	a.declare(t, "work")
	blocking := a.connection.NotifyBlocked(make(chan amqp.Blocking, 2))
	file, filler := filepath.Join(directory, "filler"), occupy(t, filepath.Join(directory, "filler"), size)

	// The first segment is written; the one behind the reserve finds no space.
	body := make([]byte, 256<<10)
	var confirms []*amqp.DeferredConfirmation
	for isBlocked := false; !isBlocked; {
		if len(confirms) > size/len(body) {
			t.Fatal("more was taken than there is space for")
		}
		c := a.post(t, "work", body)
		confirms = append(confirms, c)
		select {
		case b := <-blocking:
			isBlocked = b.Active
		case <-c.Done():
		}
	}
	if status, c := alarmsOf(t, g); status != 503 || len(c.Alarms) != 1 || !c.Alarms[0].Full {
		t.Errorf("on a full disk: %d %+v", status, c)
	}
	for range 4 {
		confirms = append(confirms, a.post(t, "work", body))
	}
	const taken = 20
	if err := consumer.channel.Qos(taken, 0, false); err != nil {
		t.Fatal(err)
	}
	consumer.consume(t, "work")
	for range taken {
		if err := next(t, consumer.deliveries, "a delivery").Ack(false); err != nil {
			t.Fatal(err)
		}
	}
	last := confirms[len(confirms)-1]
	select {
	case <-last.Done():
		t.Error("confirmed on a full disk")
	default:
	}

	// Space: it goes on by itself, and what was confirmed survives.
	if err := errors.Join(filler.Close(), os.Remove(file)); err != nil {
		t.Fatal(err)
	}
	if b := next(t, blocking, "connection.unblocked"); b.Active {
		t.Errorf("got %+v, want unblocked", b)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, c := range confirms {
		if acked, err := c.WaitContext(ctx); err != nil || !acked {
			t.Errorf("publish %d was not confirmed: %v", i, err)
		}
	}
	if err := consumer.connection.Close(); err != nil {
		t.Fatal(err)
	}
	kill(t, g)
	g = restart(t, g)
	if status, _ := alarmsOf(t, g); status != 200 {
		t.Errorf("after it: %d", status)
	}
	q, err := newAMQP(t, g).channel.QueueDeclarePassive("work", true, false, false, false, nil)
	if least := len(confirms) - 3*taken; err != nil || q.Messages < least || q.Messages > len(confirms)-taken {
		t.Errorf("%d messages, %v; want from %d to %d", q.Messages, err, least, len(confirms)-taken)
	}
	stop(t, g)
}

// occupy makes a file that takes all the space there is.
func occupy(t *testing.T, path string, size int64) *os.File {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	const step = 1 << 20
	for at := int64(0); at < size; at += step {
		if err := unix.Fallocate(int(f.Fd()), 0, at, step); errors.Is(err, unix.ENOSPC) {
			return f
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the file system is not full")
	return nil
}
