package action

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
)

func filtered(chunks ...string) (out []byte, tooLarge bool) {
	var to bytes.Buffer
	l := newLines(&to, 64, slog.New(slog.DiscardHandler), func() {})
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	defer l.watch(cancel)()
	for _, c := range chunks {
		if _, err := l.Write([]byte(c)); err != nil {
			panic(err)
		}
	}
	return to.Bytes(), errors.Is(context.Cause(ctx), ErrTooLarge)
}

func TestLines(t *testing.T) {
	f := func(want string, large bool, chunks ...string) {
		t.Helper()
		got, tooLarge := filtered(chunks...)
		if string(got) != want || tooLarge != large {
			t.Errorf("%q: got %q, too large %v", chunks, got, tooLarge)
		}
	}
	f("{\"id\":1}\n{\"id\":2}\n", false, "{\"id\":1}\n{\"i", "d\":2}", "\n")
	f("{\"id\":2}\n", false, "npm warn\n\n[1]\n{\"id\":2}\n")
	f("{\"id\":2}\n", true, "{\"id\":\""+string(bytes.Repeat([]byte("x"), 60))+"\"}\n{\"id\":2}\n")
	f("", false, "{\"id\":1}")
	long := string(bytes.Repeat([]byte("x"), 50))
	f("{\"id\":2}\n", true, long, long, long, "\n{\"id\":2}\n")
}

// FuzzLines: whatever the server writes, in whatever pieces, what comes
// out is lines of one JSON object each, none longer than allowed.
func FuzzLines(f *testing.F) {
	f.Add("{\"id\":1}\n{\"id\":2}\n", 3)
	f.Add("{\"method\":\"x\"}\nnot\n", 1)
	f.Fuzz(func(t *testing.T, text string, at int) {
		at = min(max(at, 0), len(text))
		out, _ := filtered(text[:at], text[at:])
		for line := range bytes.Lines(out) {
			var m map[string]any
			if len(line) > 65 || json.Unmarshal(line, &m) != nil || line[len(line)-1] != '\n' {
				t.Fatalf("passed %q", line)
			}
		}
	})
}
