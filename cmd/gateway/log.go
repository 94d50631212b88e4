package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"tridge/core/broker"
	"tridge/core/wal"
	"tridge/internal/vfs"
)

// logCommand carries out "gateway log": most of it looks at the log of a gateway that does not run, or writes it anew.
func logCommand(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) == 0 {
		return &usageError{"log: verify, dump, repair, backup, export or import is missing"}
	}
	name, args := args[0], args[1:]
	switch name {
	case "backup":
		return backupCommand(ctx, args, stdout)
	case "export":
		return exportCommand(args, stdout)
	case "import":
		return importCommand(args, stdin, stdout)
	}
	if name != "verify" && name != "dump" && name != "repair" {
		return &usageError{fmt.Sprintf("log: there is no %q", name)}
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	bodies := false
	if name == "dump" {
		flags.BoolVar(&bodies, "bodies", false, "")
	}
	if err := flags.Parse(args); err != nil {
		return &usageError{fmt.Sprintf("log %s: %v", name, err)}
	}
	if name == "repair" && flags.NArg() != 2 {
		return &usageError{"log repair: name the data directory and a new one"}
	}
	if name != "repair" && flags.NArg() != 1 {
		return &usageError{fmt.Sprintf("log %s: name one directory", name)}
	}
	dir, err := logDirectory(flags.Arg(0))
	if err != nil {
		return err
	}
	out := bufio.NewWriter(stdout)
	switch name {
	case "dump":
		err = dumpLog(dir, bodies, out)
	case "verify":
		err = verifyLog(dir, out)
	case "repair":
		err = repairLog(dir, flags.Arg(1), out)
	}
	if errors.Is(err, vfs.ErrLocked) {
		err = fmt.Errorf("log %s: a gateway is running on %s: stop it first", name, flags.Arg(0))
	}
	return errors.Join(err, out.Flush())
}

// logDirectory is where the segments are: in the data directory of a gateway, or in a directory that has only them.
// It must be there: a look at a log makes none.
func logDirectory(dir string) (string, error) {
	if info, err := os.Stat(filepath.Join(dir, "log")); err == nil && info.IsDir() {
		return filepath.Join(dir, "log"), nil
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", dir)
	}
	return dir, err
}

// verifyLog prints a line for each segment.
func verifyLog(dir string, out io.Writer) error {
	segments, damaged := 0, 0
	err := wal.Verify(vfs.OS{}, dir, func(r wal.Report) error {
		segments++
		_, err := fmt.Fprintf(out, "%08d.log: %s\n", r.Segment, verdict(r))
		if r.Damage != nil {
			damaged++
		}
		return err
	})
	if err == nil && damaged > 0 {
		err = fmt.Errorf("log verify: %d of %d segments damaged", damaged, segments)
	}
	return err
}

func verdict(r wal.Report) string {
	text := fmt.Sprintf("version %d, %d bytes, %d records, %d messages", r.Version, r.Bytes, r.Records, r.Messages)
	switch {
	case r.Damage != nil:
		return "damaged: " + r.Damage.Error()
	case r.Torn && r.Version == 0:
		return "torn by a crash in its first write, nothing in it was confirmed: the next start removes it"
	case r.Torn:
		return text + ", then torn by a crash, nothing there was confirmed: the next start cuts it off"
	case r.Indexed:
		return text + ", sealed, with index"
	}
	return text + ", sealed"
}

// dumpLog prints each record as a line of JSON.
func dumpLog(dir string, bodies bool, out io.Writer) error {
	encoder := json.NewEncoder(out)
	return wal.Dump(vfs.OS{}, dir, bodies, func(r wal.Record) error { return encoder.Encode(r) })
}

// repairLog writes what is left of the log in dir into a data directory that is not there yet, or has nothing in it.
func repairLog(dir, to string, out io.Writer) error {
	entries, err := os.ReadDir(to)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("log repair: %s is not empty: name a directory that is, or is not there yet", to)
	}
	parts, messages := 0, 0
	atLeast := ""
	adopted, err := broker.Repair(vfs.OS{}, dir, to, func(l wal.Lost) {
		parts++
		messages += l.Messages
		if l.AtLeast {
			atLeast = "at least "
		}
		fmt.Fprintln(out, loss(l)) // a write that fails is told of by Flush
	})
	if err != nil {
		return err
	}
	if parts == 0 {
		fmt.Fprintln(out, "nothing was damaged")
	} else {
		fmt.Fprintf(out, "%d parts lost, %s%d messages in them\n", parts, atLeast, messages)
	}
	for _, q := range adopted {
		fmt.Fprintf(out, "the declaration of a queue is lost: its %d messages are in the queue %s of vhost %s\n", q.Messages, q.Name, q.VHost)
	}
	fmt.Fprintf(out, "written to %s: gateway serve --data %s\n", to, to)
	return nil
}

func loss(l wal.Lost) string {
	text := fmt.Sprintf("%08d.log: bytes %d to %d lost: %v", l.Segment, l.From, l.To, l.Err)
	switch {
	case l.Through > l.Segment:
		text = fmt.Sprintf("%08d.log to %08d.log: missing", l.Segment, l.Through)
	case l.From == 0 && l.To == 0:
		text = fmt.Sprintf("%08d.log: missing", l.Segment)
	}
	atLeast := ""
	if l.AtLeast {
		atLeast = "at least "
	}
	text += fmt.Sprintf("; %s%d messages", atLeast, l.Messages)
	if l.Acks > 0 {
		text += fmt.Sprintf("; %d acknowledgements behind it may be half of a transaction and were left out, so their messages come again", l.Acks)
	}
	return text
}
