package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

// TestShippedRules runs the tests beside the shipped rules: every rule that is
// an alert of its own has one.
func TestShippedRules(t *testing.T) {
	var out, errs bytes.Buffer
	c := &console{in: strings.NewReader(""), out: &out, err: &errs, env: os.Getenv, now: func() time.Time { return time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC) }}
	if code := run(t.Context(), []string{"rules", "test", "../../detectors/rules"}, c); code != exitOK || errs.Len() > 0 {
		t.Errorf("exit code %d\n%s%s", code, out.String(), errs.String())
	}
}
