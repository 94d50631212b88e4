package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"tridge/integration/gateway"
)

// stompFrame is what the generators look at in a frame. It is valid until the next read.
type stompFrame struct {
	command []byte
	length  int    // content-length, -1 when there is none
	ack     []byte // the headers of those names
	receipt []byte
	body    []byte
}

// readSTOMP reads a frame; scratch keeps what must outlive the lines it came in.
func readSTOMP(in *bufio.Reader, f *stompFrame, keep *[]byte, scratch *[]byte) error {
	line := []byte{'\n'}
	var err error
	for len(line) == 1 { // heart-beats
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
	}
	*keep = append((*keep)[:0], line...)
	command := len(line) - 1
	f.length, f.ack, f.receipt = -1, nil, nil
	ackAt, receiptAt := [2]int{}, [2]int{}
	for {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
		line = line[:len(line)-1]
		if len(line) == 0 {
			break
		}
		switch name, value, _ := bytes.Cut(line, []byte(":")); string(name) {
		case "content-length":
			if f.length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		case "ack":
			ackAt[0] = len(*keep)
			*keep = append(*keep, value...)
			ackAt[1] = len(*keep)
		case "receipt-id":
			receiptAt[0] = len(*keep)
			*keep = append(*keep, value...)
			receiptAt[1] = len(*keep)
		}
	}
	f.command = (*keep)[:command]
	f.ack, f.receipt = (*keep)[ackAt[0]:ackAt[1]], (*keep)[receiptAt[0]:receiptAt[1]]
	if f.length < 0 {
		f.body, err = in.ReadSlice(0)
		return err
	}
	all, err := hear(in, f.length+1, scratch)
	if err != nil {
		return err
	}
	if all[f.length] != 0 {
		return errors.New("a frame does not end")
	}
	f.body = all[:f.length]
	return nil
}

// dialSTOMP connects in 1.2.
func dialSTOMP(g *gateway.Process) (net.Conn, *bufio.Reader, error) {
	conn, in, err := dial(g.STOMP())
	if err != nil {
		return nil, nil, err
	}
	request := "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n\n\x00"
	if err := ask(conn, in, request, "CONNECTED"); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, in, nil
}

// ask sends a frame and expects an answer of that command.
func ask(conn net.Conn, in *bufio.Reader, request, command string) error {
	if _, err := conn.Write([]byte(request)); err != nil {
		return err
	}
	var f stompFrame
	var keep, scratch []byte
	if err := readSTOMP(in, &f, &keep, &scratch); err != nil {
		return err
	}
	if string(f.command) != command {
		return fmt.Errorf("instead of %s came %s %q", command, f.command, f.body)
	}
	return nil
}

// stompProducer sends to a destination, or to one per producer when it ends with a dot; persistent messages ask for a
// receipt.
func stompProducer(destination string, persistent bool) func(*gateway.Process, int) (*producer, error) {
	return func(g *gateway.Process, index int) (*producer, error) {
		conn, in, err := dialSTOMP(g)
		if err != nil {
			return nil, err
		}
		to := destination
		if strings.HasSuffix(to, ".") {
			to += strconv.Itoa(index)
		}
		var f stompFrame
		var keep, scratch []byte
		return &producer{conn: conn, in: in, confirms: persistent,
			message: func(dst []byte, n uint64, body []byte) []byte {
				dst = append(append(dst, "SEND\ndestination:"...), to...)
				dst = append(dst, "\ncontent-length:"...)
				dst = strconv.AppendInt(dst, int64(len(body)), 10)
				if persistent {
					dst = append(dst, "\npersistent:true\nreceipt:"...)
					dst = strconv.AppendUint(dst, n, 10)
				}
				return append(append(append(dst, "\n\n"...), body...), 0)
			},
			confirmed: func(in *bufio.Reader, before uint64) (uint64, error) {
				if err := readSTOMP(in, &f, &keep, &scratch); err != nil {
					return 0, err
				}
				n, err := strconv.ParseUint(string(f.receipt), 10, 64)
				if string(f.command) != "RECEIPT" || err != nil || n != before+1 {
					return 0, fmt.Errorf("instead of receipt %d came %s %s %q", before+1, f.command, f.receipt, f.body)
				}
				return n, nil
			}}, nil
	}
}

// stompConsumer subscribes to the queue; with acknowledge every message is settled by an ACK of its own.
func stompConsumer(acknowledge bool) func(*gateway.Process, int) (*consumer, error) {
	return func(g *gateway.Process, _ int) (*consumer, error) {
		conn, in, err := dialSTOMP(g)
		if err != nil {
			return nil, err
		}
		mode := "auto"
		if acknowledge {
			mode = "client-individual"
		}
		request := fmt.Sprintf("SUBSCRIBE\nid:0\ndestination:/amq/queue/%s\nack:%s\nprefetch-count:%d\nreceipt:subscribed\n\n\x00",
			queueName, mode, prefetch)
		if err := ask(conn, in, request, "RECEIPT"); err != nil {
			return nil, err
		}
		var f stompFrame
		var acks, keep, scratch []byte
		c := &consumer{conn: conn, in: in, next: func(in *bufio.Reader) ([]byte, error) {
			if err := readSTOMP(in, &f, &keep, &scratch); err != nil {
				return nil, err
			}
			if string(f.command) != "MESSAGE" {
				return nil, fmt.Errorf("instead of a message came %s %q", f.command, f.body)
			}
			if acknowledge {
				acks = append(append(append(acks, "ACK\nid:"...), f.ack...), "\n\n\x00"...)
			}
			return f.body, nil
		}}
		if acknowledge {
			c.acknowledge = func(dst []byte) []byte {
				dst = append(dst, acks...)
				acks = acks[:0]
				return dst
			}
		}
		return c, nil
	}
}
