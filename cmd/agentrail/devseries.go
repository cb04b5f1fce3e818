package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/detectors"
)

func newDevSeries(c *console) *cobra.Command {
	var f files
	var detector string
	cmd := &cobra.Command{
		Use:   "series",
		Short: "Score the values of a time series by a detector's own arithmetic",
		Long: "Read a CSV of timestamp,value and write timestamp,value,anomaly_score: one row for each row, as it was written, and a score\n" +
			"from 0 to 1 that depends on the rows up to it only. 0.5 is where the detector would tell. Detectors: " + strings.Join(detectors.SeriesDetectors(), ", ") + ".\n" +
			"Accepted: a header or none (columns are found by the names timestamp and value, else the first two count), a byte order\n" +
			"mark, CRLF, quotes, times as 2006-01-02 15:04:05, RFC 3339 or Unix time in s, ms, us or ns. An empty value, NaN, null and\n" +
			"the like score 0 and teach nothing. Anything else is an error that names the line, and then no file is written.",
		Example: "  agentrail dev series --detector both --in cpu.csv --out scores.csv",
		Args:    cobra.NoArgs,
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&detector, "detector", "", "whose arithmetic: "+strings.Join(detectors.SeriesDetectors(), ", "))
	cmd.RunE = func(*cobra.Command, []string) error {
		if f.in == "" || f.out == "" || detector == "" {
			return usagef("agentrail dev series --detector NAME --in FILE.csv --out FILE.csv", "--detector, --in and --out are needed")
		}
		s, err := detectors.NewSeries(detector)
		if err != nil {
			return usagef("agentrail dev series --help lists them", "%w", err)
		}
		return f.pass(c, func(in *bufio.Reader, out *bufio.Writer) error {
			if err := scoreSeries(s, in, out); err != nil {
				return fmt.Errorf("score %s: %w", f.in, err)
			}
			return nil
		})
	}
	return cmd
}

// scoreSeries scores one row after the other.
func scoreSeries(s *detectors.Series, in *bufio.Reader, out *bufio.Writer) error {
	skipMark(in)
	r := csv.NewReader(in)
	r.FieldsPerRecord, r.ReuseRecord = -1, true
	w := csv.NewWriter(out)
	at, value, rows := 0, 1, 0
	for first := true; ; first = false {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err // names the line
		}
		if first {
			_ = w.Write([]string{"timestamp", "value", "anomaly_score"}) // Flush tells
			var header bool
			if at, value, header, err = seriesHeader(row); err != nil {
				return fmt.Errorf("line 1: %w", err)
			}
			if header {
				continue
			}
		}
		line, _ := r.FieldPos(0)
		if len(row) <= max(at, value) {
			return fmt.Errorf("line %d: %d columns, a timestamp and a value are needed", line, len(row))
		}
		t, err := seriesTime(row[at])
		if err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		v, err := seriesValue(row[value])
		if err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		rows++
		_ = w.Write([]string{row[at], row[value], strconv.FormatFloat(s.Score(t, v), 'f', 9, 64)})
	}
	w.Flush()
	if rows == 0 && w.Error() == nil {
		return errors.New("it holds no row of timestamp and value")
	}
	return w.Error()
}

// seriesHeader returns the columns of time and value, and whether the row is a
// header at all.
func seriesHeader(row []string) (at, value int, header bool, err error) {
	if len(row) < 2 {
		return 0, 0, false, fmt.Errorf("%d columns, a timestamp and a value are needed", len(row))
	}
	at, value = -1, -1
	for i, name := range row {
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "timestamp", "time", "ts", "datetime", "date":
			at = i
		case "value":
			value = i
		}
	}
	if at >= 0 && value >= 0 {
		return at, value, true, nil
	}
	_, noTime := seriesTime(row[0])
	_, noValue := seriesValue(row[1])
	switch {
	case noTime == nil && noValue == nil:
		return 0, 1, false, nil
	case noTime != nil && noValue != nil && len(row) == 2:
		return 0, 1, true, nil
	}
	return 0, 0, false, fmt.Errorf("columns %q: name two of them timestamp and value", row)
}

var seriesLayouts = []string{
	"2006-01-02 15:04:05", "2006-01-02T15:04:05", time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02",
}

// seriesTime reads a time; one without a zone is UTC.
func seriesTime(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	for _, layout := range seriesLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && f >= 0 && f < 1e19 {
		unit := 1.0 // by its size: seconds until the year 5138
		for f/unit >= 1e11 {
			unit *= 1000
		}
		whole, part := math.Modf(f / unit)
		return time.Unix(int64(whole), int64(part*1e9)).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%.60q is no time; write 2006-01-02 15:04:05, RFC 3339 or Unix time", s)
}

// seriesValue reads a value; what stands for a missing one is NaN.
func seriesValue(s string) (float64, error) {
	s = strings.TrimSpace(s)
	switch strings.ToLower(s) {
	case "", "nan", "null", "none", "na", "n/a", "nil", "-":
		return math.NaN(), nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%.60q is no number", s)
	}
	return v, nil // beyond the range it is infinite, which scores 0
}
