package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"tridge/core/broker"
	"tridge/core/message"
)

// exportVersion is that of the lines that export prints: a header, then one message a line.
const exportVersion = 1

// maxExportLine bounds a line: a message of the largest size there can be, in base64, and what is around it.
const maxExportLine = 1 << 30

// exportHeader is the first line.
type exportHeader struct {
	Version  int    `json:"tridge-export"`
	VHost    string `json:"vhost"`
	Queue    string `json:"queue"`
	Messages int    `json:"messages"` // how many lines follow
}

// exportLine is one message. Its Seq is for the reader's eye: import gives it another.
type exportLine struct {
	Seq     uint64           `json:"seq"`
	Message *message.Message `json:"message"`
}

// exportCommand carries out "gateway log export".
func exportCommand(args []string, stdout io.Writer) error {
	flags, data := dataFlags("export")
	vhost := flags.String("vhost", broker.DefaultVHost, "")
	names, err := parseMixed(flags, args)
	if err != nil {
		return &usageError{fmt.Sprintf("log export: %v", err)}
	}
	if len(names) != 1 {
		return &usageError{"log export: name one queue"}
	}
	if err := hasLog(*data); err != nil {
		return err
	}
	out := bufio.NewWriter(stdout)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	err = broker.Export(broker.Config{Dir: *data, Slog: slog.New(slog.DiscardHandler)}, *vhost, names[0],
		func(messages int) error {
			return encoder.Encode(exportHeader{exportVersion, *vhost, names[0], messages})
		},
		func(seq uint64, m *message.Message) error {
			return encoder.Encode(exportLine{seq, m})
		})
	return errors.Join(stoppedOnly("export", *data, err), out.Flush())
}

// importCommand carries out "gateway log import".
func importCommand(args []string, stdin io.Reader, stdout io.Writer) error {
	flags, data := dataFlags("import")
	vhost := flags.String("vhost", broker.DefaultVHost, "")
	create := flags.Bool("create", false, "")
	names, err := parseMixed(flags, args)
	if err != nil {
		return &usageError{fmt.Sprintf("log import: %v", err)}
	}
	if len(names) != 1 {
		return &usageError{"log import: name one queue"}
	}
	if err := isDirectory(*data); err != nil {
		return err
	}
	in := exported{in: bufio.NewReaderSize(stdin, 64<<10)}
	if err := in.begin(); err != nil { // before anything is opened
		return err
	}
	c := broker.Config{Dir: *data, Slog: slog.New(slog.DiscardHandler)}
	n, err := broker.Import(c, *vhost, names[0], *create, in.next)
	if errors.Is(err, broker.ErrNoQueue) {
		err = fmt.Errorf("%w; --create declares it", err)
	}
	if _, told := fmt.Fprintf(stdout, "%d of %d messages imported\n", n, in.messages); told != nil {
		err = errors.Join(err, told)
	}
	return stoppedOnly("import", *data, err)
}

// stoppedOnly says what to do when a gateway has the directory open.
func stoppedOnly(command, data string, err error) error {
	if errors.Is(err, broker.ErrInUse) {
		return fmt.Errorf("log %s: a gateway is running on %s: stop it first", command, data)
	}
	return err
}

// exported reads what export has printed.
type exported struct {
	in       *bufio.Reader
	messages int // that the header announces
	line     int // the last one read, from 1
}

// begin reads the header.
func (e *exported) begin() error {
	line, err := e.read()
	var header exportHeader
	if err == nil {
		err = json.Unmarshal(line, &header)
	}
	switch {
	case err != nil:
		return e.wrong(err)
	case header.Version == 0:
		return e.wrong(errors.New("this is not what export prints"))
	case header.Version > exportVersion:
		return e.wrong(fmt.Errorf("version %d is newer than this gateway", header.Version))
	}
	e.messages = header.Messages
	return nil
}

// next returns the next message, nil behind the last one.
func (e *exported) next() (*message.Message, error) {
	line, err := e.read()
	have := e.line - 1
	if errors.Is(err, io.EOF) {
		if have--; have != e.messages {
			return nil, fmt.Errorf("standard input ends after %d of %d messages", have, e.messages)
		}
		return nil, nil
	}
	var one exportLine
	if err == nil {
		err = json.Unmarshal(line, &one)
	}
	switch {
	case err == nil && have > e.messages:
		err = fmt.Errorf("there are more than %d messages", e.messages)
	case err == nil && one.Message == nil:
		err = errors.New("the message is missing")
	}
	if err != nil {
		return nil, e.wrong(err)
	}
	return one.Message, nil
}

func (e *exported) wrong(err error) error {
	return fmt.Errorf("standard input, line %d: %w", e.line, err)
}

// read returns the next line, io.EOF behind the last.
func (e *exported) read() ([]byte, error) {
	e.line++
	var line []byte
	for {
		piece, err := e.in.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case len(line) > maxExportLine:
			return nil, fmt.Errorf("longer than %d bytes", maxExportLine)
		case err == nil || errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
