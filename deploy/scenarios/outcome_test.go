package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/deploy/sample"
)

// oneMiss is a world of two days: one incident was missed on the second, and
// the twin of the other told of.
func oneMiss() outcome {
	o := outcome{world: world{name: "small"}, seeds: 2, records: 40}
	for i, found := range []bool{true, false} {
		o.add(&sample.Score{Benign: 10, Results: []sample.Result{
			{Incident: "a", Found: found, Rule: "burst", After: time.Duration(1+i) * time.Minute, TwinQuiet: true},
			{Incident: "b", Found: true, Rule: []string{"denial", "burst"}[i], After: time.Hour, TwinQuiet: found},
		}})
	}
	return o
}

func TestOutcome(t *testing.T) {
	o := oneMiss()
	if got, want := strings.Join(o.cells(), " "), "small 2 40 3/4 3/4 3600 3600 0.000"; got != want {
		t.Errorf("cells %q, want %q", got, want)
	}
	if got, want := o.missed(), "a missed 1×, twin of b told 1×"; got != want {
		t.Errorf("missed %q, want %q", got, want)
	}
}

func TestTable(t *testing.T) {
	o := oneMiss()
	var b strings.Builder
	o.print(&b)
	for _, want := range []string{
		"\na         1/2    2/2         1.00       0.50    60               60    burst\n",
		"\nb         2/2    1/2         0.67       1.00    3600             3600  burst 1×, denial 1×\n",
		"\nall       3/4    3/4         1.00       0.75    3600             3600\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestPicture(t *testing.T) {
	o := oneMiss()
	picture := string(draw(&o))
	dec := xml.NewDecoder(strings.NewReader(picture))
	for {
		_, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, picture)
		}
	}
	if good, bad := strings.Count(picture, `class="good"`), strings.Count(picture, `class="bad"`); good != 6 || bad != 2 {
		t.Errorf("%d good and %d bad squares, want 6 and 2", good, bad)
	}
}

func TestPublish(t *testing.T) {
	path := filepath.Join(t.TempDir(), "README.md")
	put := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := []outcome{oneMiss()}
	put("before\n" + begin + "stale\n" + end + "after\n")
	for range 2 { // the second time changes nothing
		if err := publish(path, all); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got := string(b)
		if !strings.HasPrefix(got, "before\n"+begin+"| world |") || !strings.HasSuffix(got, "a missed 1×, twin of b told 1× |\n"+end+"after\n") || strings.Contains(got, "stale") {
			t.Errorf("published:\n%s", got)
		}
	}
	put("no marks\n")
	if err := publish(path, all); err == nil {
		t.Error("a file without marks was taken")
	}
}
