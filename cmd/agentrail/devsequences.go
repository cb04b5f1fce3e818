package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/detectors"
)

func newDevSequences(c *console) *cobra.Command {
	var f files
	var train string
	cmd := &cobra.Command{
		Use:   "sequences",
		Short: "Score sequences of step names by the shape detector's own arithmetic",
		Long: "Learn what ordinary sequences look like from one file and write a score from 0 to 1 for each line of another: which steps,\n" +
			"sets and orders it has, how often each step comes and how many there are. 0.5 is where the detector would tell.\n" +
			"A line is one sequence; names of steps stand apart by white space or commas. A line without a name is an empty sequence\n" +
			"in --in, which gets a score as well, and is left out in --train. Scored sequences are not learned.",
		Example: "  agentrail dev sequences --train normal.txt --in runs.txt --out scores.txt",
		Args:    cobra.NoArgs,
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&train, "train", "", "file of ordinary sequences")
	cmd.RunE = func(*cobra.Command, []string) error {
		if f.in == "" || f.out == "" || train == "" {
			return usagef("agentrail dev sequences --train FILE --in FILE --out FILE", "--train, --in and --out are needed")
		}
		if train == "-" && f.in == "-" {
			return usagef("name a file for one of them", "--train and --in are both standard input")
		}
		s, err := learnSequences(c, train)
		if err != nil {
			return fmt.Errorf("learn %s: %w", train, err)
		}
		return f.pass(c, func(in *bufio.Reader, out *bufio.Writer) error {
			err := eachSequence(in, func(steps []string) error {
				_, err := out.WriteString(strconv.FormatFloat(s.Score(steps), 'f', 9, 64) + "\n")
				return err
			})
			if err != nil {
				return fmt.Errorf("score %s: %w", f.in, err)
			}
			return nil
		})
	}
	return cmd
}

func learnSequences(c *console, name string) (*detectors.Sequences, error) {
	s, n := &detectors.Sequences{}, 0
	in, err := openInput(c, name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	err = eachSequence(bufio.NewReader(in), func(steps []string) error {
		if len(steps) > 0 {
			s.Learn(steps)
			n++
		}
		return nil
	})
	if err == nil && n == 0 {
		err = errors.New("it holds no sequence")
	}
	return s, err
}

// longestSequence is how long a line may be, so that a file that is none does
// not fill the memory.
const longestSequence = 64 << 20

// eachSequence calls yield for each line.
func eachSequence(in *bufio.Reader, yield func(steps []string) error) error {
	skipMark(in)
	for line := 1; ; line++ {
		text, err := readLine(in, longestSequence)
		if errors.Is(err, io.EOF) && text == "" {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("line %d: %w", line, err)
		}
		steps := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
		if err := yield(steps); err != nil {
			return err
		}
	}
}

// readLine reads a line with its end.
func readLine(in *bufio.Reader, most int) (string, error) {
	var b strings.Builder
	for {
		part, err := in.ReadSlice('\n')
		if b.Len()+len(part) > most {
			return "", fmt.Errorf("longer than %d bytes", most)
		}
		b.Write(part)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return b.String(), err
		}
	}
}
