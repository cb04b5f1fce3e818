package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// newDev are verbs for those who work on Agentrail itself: they measure parts
// of it alone.
func newDev(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "dev", Short: "Measure parts of Agentrail alone", Hidden: true}
	cmd.AddCommand(newDevSeries(c), newDevSequences(c))
	return cmd
}

// files are where a developers' verb reads and writes; - is standard input or
// output.
type files struct{ in, out string }

func (f *files) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.in, "in", "", "file to read; - is standard input")
	cmd.Flags().StringVar(&f.out, "out", "", "file to write; - is standard output")
}

// pass gives the input to work and keeps what it writes. A file appears whole or
// not at all.
func (f *files) pass(c *console, work func(in *bufio.Reader, out *bufio.Writer) error) error {
	in, err := openInput(c, f.in)
	if err != nil {
		return err
	}
	defer in.Close()
	if f.out == "-" {
		out := bufio.NewWriter(c.out)
		return errors.Join(work(bufio.NewReader(in), out), out.Flush())
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.out), "."+filepath.Base(f.out)+"-*")
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	defer os.Remove(tmp.Name()) // it is not there any more once it was renamed
	out := bufio.NewWriter(tmp)
	if err := errors.Join(work(bufio.NewReader(in), out), out.Flush(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), f.out); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func openInput(c *console, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(c.in), nil
	}
	in, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read input: %w", err)
	}
	return in, nil
}

// skipMark skips a byte order mark.
func skipMark(r *bufio.Reader) {
	if b, err := r.Peek(3); err == nil && string(b) == "\ufeff" {
		_, _ = r.Discard(3)
	}
}
