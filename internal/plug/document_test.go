package plug_test

import (
	"strings"
	"testing"

	"github.com/agentrail/agentrail/internal/plug"
)

func TestDocument(t *testing.T) {
	type inner struct {
		Name string   `yaml:"name"`
		List []string `yaml:"list"`
	}
	var into struct {
		Items []inner `yaml:"items"`
		Same  inner   `yaml:"same"`
	}
	doc, err := plug.Load("f.yaml", "items:\n  - name: a\n    list:\n      - x\n      - y\n  - &b\n    name: b\nsame: *b\n", &into)
	if err != nil {
		t.Fatal(err)
	}
	f := func(want int, path ...any) {
		t.Helper()
		if got := doc.Line(path...); got != want {
			t.Errorf("line of %v is %d, want %d", path, got, want)
		}
	}
	f(1)
	f(2, "items", 0)
	f(5, "items", 0, "list", 1)
	f(7, "items", 1, "name")
	f(7, "same", "name")
	f(2, "items", 0, "missing", 7)
	f(1, "items", 9)
	if into.Same.Name != "b" {
		t.Errorf("decoded %+v", into)
	}
}

func TestDocumentFaults(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		var into struct {
			Name string `yaml:"name"`
		}
		_, err := plug.Load("f.yaml", text, &into)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want %q, got %v", text, want, err)
		}
	}
	f("", "f.yaml:1: the file is empty")
	f("- a\n", "no mapping")
	f("name: a\n---\nname: b\n", "more than one document")
	f("name: a\nnme: b\n", `f.yaml:2: unknown key "nme"; did you mean "name"?`)
	f("name: a\nname: b\n", "f.yaml:2")
	f("name: [\n", "f.yaml")
}
