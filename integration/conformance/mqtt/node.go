package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// script is run by node; it needs the module mqtt beside it.
const script = "integration/node/device.js"

// node is a client of MQTT.js in a process of its own.
type node struct {
	mailbox
	command *exec.Cmd
	in      *json.Encoder
	answers chan nodeLine
	connack nodeLine
	once    sync.Once
}

// nodeLine is what the script says.
type nodeLine struct {
	Connected bool    `json:"connected"`
	Present   bool    `json:"present"`
	Assigned  string  `json:"assigned"`
	Message   *packet `json:"message"`
	Code      *byte   `json:"code"`
	Error     string  `json:"error"`
	Gone      bool    `json:"gone"`
}

// nodeRequest is what it is told.
type nodeRequest struct {
	Subscribe   *filter `json:"subscribe,omitempty"`
	Unsubscribe string  `json:"unsubscribe,omitempty"`
	Publish     *packet `json:"publish,omitempty"`
	Disconnect  bool    `json:"disconnect,omitempty"`
	Cut         bool    `json:"cut,omitempty"`
}

// haveNode says what is missing, if anything.
func haveNode() error {
	if _, err := os.Stat(filepath.Join(filepath.Dir(script), "node_modules", "mqtt")); err != nil {
		return errors.New("MQTT.js is missing: run make deps")
	}
	return nil
}

func connectNode(version string) func(string, options) (device, error) {
	return func(address string, o options) (device, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(map[string]any{"id": o.id, "keep": o.keep, "will": o.will})
		if err != nil {
			return nil, err
		}
		d := &node{mailbox: newMailbox(), command: exec.Command("node", script, host, port, version, string(text)), answers: make(chan nodeLine, 16)}
		d.command.Stderr = os.Stderr
		d.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		in, err := d.command.StdinPipe()
		if err != nil {
			return nil, err
		}
		d.in = json.NewEncoder(in)
		out, err := d.command.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := d.command.Start(); err != nil {
			return nil, err
		}
		go d.read(bufio.NewReaderSize(out, 1<<20))
		d.connack, err = d.answer()
		if err == nil && !d.connack.Connected {
			err = errors.New("not connected")
		}
		if err != nil {
			d.cut()
			return nil, err
		}
		return d, nil
	}
}

func (d *node) read(out *bufio.Reader) {
	decoder := json.NewDecoder(out)
	for {
		var line nodeLine
		if err := decoder.Decode(&line); err != nil {
			break
		}
		switch {
		case line.Message != nil:
			d.messages <- *line.Message
		case line.Gone:
			d.once.Do(func() { close(d.gone) })
		default:
			d.answers <- line
		}
	}
	d.once.Do(func() { close(d.gone) })
	_ = d.command.Wait()
}

func (d *node) answer() (nodeLine, error) {
	select {
	case line := <-d.answers:
		if line.Error != "" {
			return line, errors.New(line.Error)
		}
		return line, nil
	case <-d.gone:
		return nodeLine{}, errors.New("the connection ended")
	case <-time.After(patience):
		return nodeLine{}, errors.New("no answer in time")
	}
}

func (d *node) call(r nodeRequest) (byte, error) {
	if err := d.in.Encode(r); err != nil {
		return 0, err
	}
	line, err := d.answer()
	if err != nil || line.Code == nil {
		return 0, errors.Join(err, fmt.Errorf("answered with %+v", line))
	}
	return *line.Code, nil
}

func (d *node) present() bool    { return d.connack.Present }
func (d *node) assigned() string { return d.connack.Assigned }

func (d *node) subscribe(f filter) (byte, error) { return d.call(nodeRequest{Subscribe: &f}) }

func (d *node) unsubscribe(topic string) error {
	_, err := d.call(nodeRequest{Unsubscribe: topic})
	return err
}

func (d *node) publish(p packet) (byte, error) { return d.call(nodeRequest{Publish: &p}) }

func (d *node) disconnect() { d.end(nodeRequest{Disconnect: true}) }
func (d *node) cut()        { d.end(nodeRequest{Cut: true}) }

func (d *node) end(r nodeRequest) {
	_ = d.in.Encode(r)
	select {
	case <-d.gone:
	case <-time.After(patience):
		_ = d.command.Process.Kill()
	}
}
