package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// deviceOptions are the command line of "bench devices", which "bench bridge" starts.
type deviceOptions struct {
	address  string
	from, to int
	messages int
	interval time.Duration
	size     int
	rounds   int
}

// device is an MQTT client.
type device struct {
	index   int
	conn    net.Conn
	in      *bufio.Reader
	scratch []byte
}

// runDevices connects devices and does what it is told on standard input, in words: "publish", then "subscribe". It says
// on standard output when all devices have done it, and when all have a message that was published to them. When standard
// input ends they disconnect.
func runDevices(ctx context.Context, arguments []string, stdin io.Reader, stdout, stderr io.Writer) error {
	var o deviceOptions
	flags := flag.NewFlagSet("bench devices", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.address, "address", "", "where the gateway listens for MQTT")
	flags.IntVar(&o.from, "from", 0, "index of the first device")
	flags.IntVar(&o.to, "to", 1, "index after the last device")
	flags.IntVar(&o.messages, "messages", 1, "that each device publishes")
	flags.DurationVar(&o.interval, "interval", time.Second, "between two messages of a device")
	flags.IntVar(&o.size, "size", 64, "bytes of a body, at least 16")
	flags.IntVar(&o.rounds, "rounds", 1, "messages that are published to all devices")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	list := make([]*device, o.to-o.from)
	defer func() {
		for _, d := range list {
			if d != nil {
				_ = d.conn.Close()
			}
		}
	}()
	if err := connectDevices(list, &o); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "connected")
	told := bufio.NewScanner(stdin)
	for told.Scan() && ctx.Err() == nil {
		switch told.Text() {
		case "publish":
			if err := everyOne(list, func(d *device) error { return d.publish(&o) }); err != nil {
				return err
			}
			fmt.Fprintln(stdout, "published")
		case "subscribe":
			if err := everyOne(list, func(d *device) error { return subscribe(d.conn, d.in, everyDevice, 1) }); err != nil {
				return err
			}
			fmt.Fprintln(stdout, "subscribed")
			for range o.rounds {
				if err := everyOne(list, (*device).receive); err != nil {
					return err
				}
				fmt.Fprintln(stdout, "received", time.Now().UnixNano())
			}
		default:
			return fmt.Errorf("told %q", told.Text())
		}
	}
	return told.Err()
}

// connectDevices connects a few at a time.
func connectDevices(list []*device, o *deviceOptions) error {
	const atOnce = 16
	return together(atOnce, func(worker int) error {
		for i := worker; i < len(list); i += atOnce {
			conn, in, err := dialSized(o.address, 256)
			if err != nil {
				return err
			}
			list[i] = &device{index: o.from + i, conn: conn, in: in}
			if err := greet(conn, in, fmt.Sprintf("device-%d", o.from+i), false); err != nil {
				return err
			}
		}
		return nil
	})
}

// everyOne has all devices do something at the same time.
func everyOne(list []*device, do func(*device) error) error {
	failures := make([]error, len(list))
	var all sync.WaitGroup
	for i, d := range list {
		all.Go(func() { failures[i] = do(d) })
	}
	all.Wait()
	return errors.Join(failures...)
}

// publish sends the device's messages at their times, each when the one before is confirmed.
func (d *device) publish(o *deviceOptions) error {
	body := make([]byte, o.size)
	binary.BigEndian.PutUint64(body, uint64(d.index))
	due := time.Now().Add(o.interval * time.Duration(d.index-o.from) / time.Duration(o.to-o.from)) // not all at once
	for n := range uint64(o.messages) {
		time.Sleep(time.Until(due))
		due = due.Add(o.interval)
		binary.BigEndian.PutUint64(body[8:], n)
		id := packetID(n + 1)
		if _, err := d.conn.Write(appendPublish(nil, topic(d.index), 1, id, body)); err != nil {
			return err
		}
		first, rest, err := packet(d.in, &d.scratch)
		if err != nil {
			return err
		}
		if first != 0x40 || len(rest) != 2 || binary.BigEndian.Uint16(rest) != id {
			return fmt.Errorf("instead of PUBACK %d came %#x %x", id, first, rest)
		}
	}
	return nil
}

// receive reads one message and acknowledges it.
func (d *device) receive() error {
	first, rest, err := packet(d.in, &d.scratch)
	if err != nil {
		return err
	}
	head := 2 + len(everyDevice)
	if first != 0x32 || len(rest) < head+2 {
		return fmt.Errorf("instead of PUBLISH came %#x %.40x", first, rest)
	}
	_, err = d.conn.Write([]byte{0x40, 2, rest[head], rest[head+1]})
	return err
}
