package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/detectors"
)

// dev runs a developers' verb with that standard input.
func dev(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	c := &console{in: strings.NewReader(in), out: &o, err: &e, env: os.Getenv, now: time.Now}
	code = run(t.Context(), append([]string{"dev"}, args...), c)
	return code, o.String(), e.String()
}

func TestDevSeries(t *testing.T) {
	f := func(name, in, want string) {
		t.Helper()
		code, out, errs := dev(t, in, "series", "--detector", "both", "--in", "-", "--out", "-")
		if want != "" {
			if code != exitFailure || !strings.Contains(errs, want) {
				t.Errorf("%s: code %d, %q, want %q", name, code, errs, want)
			}
			return
		}
		if code != exitOK || errs != "" {
			t.Errorf("%s: code %d, %s", name, code, errs)
		}
		rows := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if len(rows) != 4 || rows[0] != "timestamp,value,anomaly_score" {
			t.Errorf("%s: %d rows, header %q", name, len(rows), rows[0])
		}
		for _, row := range rows[1:] {
			cells := strings.Split(row, ",")
			x, err := strconv.ParseFloat(cells[len(cells)-1], 64)
			if err != nil || !(x >= 0 && x <= 1) {
				t.Errorf("%s: row %q", name, row)
			}
		}
	}
	f("plain", "timestamp,value\n2014-02-14 14:27:00,51.8\n2014-02-14 14:32:00,-44.5\n2014-02-14 14:37:00,1e3\n", "")
	f("no header", "2014-02-14 14:27:00,51.8\n2014-02-14 14:32:00,44.5\n2014-02-14 14:37:00,44\n", "")
	f("CRLF, mark, quotes", "\ufeff\"timestamp\",\"value\"\r\n\"2014-02-14 14:27:00\",\"51.8\"\r\n2014-02-14T14:32:00Z,44.5\r\n2014-02-14 14:37,44", "")
	f("other names", "when,requests\n1392388020,51.8\n1392388320000,44.5\n1392388620000000000,44\n", "")
	f("more columns", "host,value,timestamp,label\na,1,2014-02-14 14:27:00,0\na,2,2014-02-14 14:32:00,0\na,3,2014-02-14 14:37:00,1\n", "")
	f("missing values", "timestamp,value\n2014-02-14 14:27:00,\n2014-02-14 14:32:00,NaN\n2014-02-14 14:37:00,null\n", "")
	f("back in time, twice the same", "timestamp,value\n2014-02-14 14:27:00,1\n2014-02-14 14:27:00,2\n2013-02-14 14:37:00,3\n", "")
	f("beyond any number", "timestamp,value\n2014-02-14 14:27:00,1e999\n2014-02-14 14:32:00,-Inf\n2014-02-14 14:37:00,1\n", "")

	f("empty", "", "it holds no row")
	f("header only", "timestamp,value\n", "it holds no row")
	f("a bad number", "timestamp,value\n2014-02-14 14:27:00,1\n2014-02-14 14:32:00,12x\n", `line 3: "12x" is no number`)
	f("a bad time", "timestamp,value\n2014-02-14 14:27:00,1\n14/02/2014,2\n", `line 3: "14/02/2014" is no time`)
	f("one column", "timestamp\n", "line 1: 1 columns")
	f("a short row", "timestamp,value\n2014-02-14 14:27:00,1\n2014-02-14 14:32:00\n", "line 3: 1 columns")
	f("names that say nothing", "a,b,c\n1,2,3\n", "name two of them timestamp and value")
	f("an open quote", "timestamp,value\n\"2014-02-14 14:27:00,1\n", `line 2`)
}

// TestDevFiles: a file appears whole or not at all, may be the one that is read,
// and what is asked for wrongly is a usage error.
func TestDevFiles(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("good.csv", "timestamp,value\n2014-02-14 14:27:00,51.80\n")
	write("bad.csv", "timestamp,value\n2014-02-14 14:27:00,1\nx,y\n")
	if code, _, errs := dev(t, "", "series", "--detector", "extreme", "--in", path("good.csv"), "--out", path("good.csv")); code != exitOK {
		t.Errorf("onto itself: %s", errs)
	}
	if got, err := os.ReadFile(path("good.csv")); err != nil || string(got) != "timestamp,value,anomaly_score\n2014-02-14 14:27:00,51.80,0.000000000\n" {
		t.Errorf("%q, %v", got, err)
	}
	if code, _, errs := dev(t, "", "series", "--detector", "extreme", "--in", path("bad.csv"), "--out", path("out.csv")); code != exitFailure || !strings.Contains(errs, "bad.csv: line 3") {
		t.Errorf("a bad row: code %d, %s", code, errs)
	}
	left, err := filepath.Glob(path("*out*"))
	hidden, err2 := filepath.Glob(path(".*"))
	if err = errors.Join(err, err2); err != nil || len(left)+len(hidden) > 0 {
		t.Errorf("left behind: %v %v, %v", left, hidden, err)
	}
	f := func(want string, args ...string) {
		t.Helper()
		if code, _, errs := dev(t, "", args...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%q: code %d, %q, want %q", args, code, errs, want)
		}
	}
	f("are needed", "series", "--in", "x")
	f("known: both, extreme, rateband", "series", "--detector", "burst", "--in", "x", "--out", "y")
	f("are needed", "sequences", "--in", "x")
	f("both standard input", "sequences", "--train", "-", "--in", "-", "--out", "-")
	if code, _, errs := dev(t, "", "sequences", "--train", path("none"), "--in", "-", "--out", "-"); code != exitFailure || !strings.Contains(errs, "no such file") {
		t.Errorf("no such file: code %d, %s", code, errs)
	}
}

func TestDevSequences(t *testing.T) {
	train := filepath.Join(t.TempDir(), "train.txt")
	if err := os.WriteFile(train, []byte("\ufeff"+strings.Repeat("5 22 11 9 26\r\n\n5,22,11,9,11,9,26\n", 400)), 0o600); err != nil {
		t.Fatal(err)
	}
	scores := func(in string) []float64 {
		t.Helper()
		code, out, errs := dev(t, in, "sequences", "--train", train, "--in", "-", "--out", "-")
		if code != exitOK {
			t.Fatalf("code %d: %s", code, errs)
		}
		var got []float64
		for line := range strings.FieldsSeq(out) {
			x, err := strconv.ParseFloat(line, 64)
			if err != nil || !(x >= 0 && x <= 1) {
				t.Fatalf("line %q", line)
			}
			got = append(got, x)
		}
		return got
	}
	got := scores("5 22 11 9 26\n5\t22\t11 9,11 9 26\n5 22 99 11 9 26\n\n" + strings.Repeat("11 9 ", 300))
	if len(got) != 5 {
		t.Fatalf("%d scores for 5 lines", len(got))
	}
	if got[0] != 0 || got[1] != 0 || got[2] < 0.5 || got[3] < 0.5 || got[4] < 0.5 {
		t.Errorf("scores %v", got)
	}
	if one, two := scores("5 22 11 9 26\n"), scores("5 22 11 9 26"); len(one) != 1 || len(two) != 1 {
		t.Errorf("%d and %d scores for one line with and without its end", len(one), len(two))
	}
	if len(scores("")) != 0 {
		t.Error("an empty file has a score")
	}
	empty := filepath.Join(t.TempDir(), "empty.txt")
	if err := os.WriteFile(empty, []byte("\n \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := dev(t, "a b\n", "sequences", "--train", empty, "--in", "-", "--out", "-"); code != exitFailure || !strings.Contains(errs, "it holds no sequence") {
		t.Errorf("nothing to learn from: code %d, %s", code, errs)
	}
}

// FuzzScoreSeries offers noise: there is an error or one row for each row.
func FuzzScoreSeries(f *testing.F) {
	f.Add("timestamp,value\n2014-02-14 14:27:00,51.8\n")
	f.Add("\ufeff1392388020,1\r\n,\r\n\"a\"\"b\",x\n")
	f.Add("value,ts\nNaN,1e18\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := detectors.NewSeries("both")
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		if err := scoreSeries(s, bufio.NewReader(strings.NewReader(text)), w); err != nil {
			return
		}
		if err := w.Flush(); err != nil || !strings.HasPrefix(out.String(), "timestamp,value,anomaly_score\n") {
			t.Fatalf("%q, %v", out.String(), err)
		}
	})
}

// FuzzEachSequence offers noise: as many sequences as lines.
func FuzzEachSequence(f *testing.F) {
	f.Add("a b c\nd\n")
	f.Add("\ufeff,,\r\n\x00")
	f.Fuzz(func(t *testing.T, text string) {
		want := strings.Count(text, "\n")
		if rest := text[strings.LastIndexByte(text, '\n')+1:]; rest != "" && rest != "\ufeff" {
			want++
		}
		n := 0
		err := eachSequence(bufio.NewReaderSize(strings.NewReader(text), 16), func([]string) error { n++; return nil })
		if err != nil || n != want {
			t.Fatalf("%d sequences of %d lines, %v", n, want, err)
		}
	})
}

// A time is the same however it is written.
func TestSeriesTimes(t *testing.T) {
	want := time.Date(2014, 2, 14, 14, 27, 0, 0, time.UTC)
	for _, s := range []string{"2014-02-14 14:27:00", "2014-02-14T15:27:00+01:00", "2014-02-14 14:27", fmt.Sprint(want.Unix()), fmt.Sprint(want.UnixMilli()), fmt.Sprint(want.UnixNano()), "2014-02-14 14:27:00.000"} {
		if got, err := seriesTime(s); err != nil || math.Abs(got.Sub(want).Seconds()) > 1 {
			t.Errorf("%s is %s, %v", s, got, err)
		}
	}
}
