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

// TestSection: a part of a file is decoded by its owner, and its faults still
// name the line of the whole file.
func TestSection(t *testing.T) {
	type inner struct {
		Name string `yaml:"name"`
		List []struct {
			A int `yaml:"a"`
		} `yaml:"list"`
	}
	var whole struct {
		Version int          `yaml:"version"`
		Part    plug.Section `yaml:"part"`
		None    plug.Section `yaml:"none"`
	}
	if _, err := plug.Load("x.yaml", "version: 1\npart:\n  name: n\n  list:\n  - a: 1\n  - b: 2\n", &whole); err != nil {
		t.Fatal(err)
	}
	if whole.Part.IsZero() || !whole.None.IsZero() {
		t.Errorf("part is zero: %v, none is zero: %v", whole.Part.IsZero(), whole.None.IsZero())
	}
	whole.Part.File = "x.yaml"
	var got inner
	doc, err := whole.Part.Load(&got)
	if err == nil || !strings.Contains(err.Error(), `x.yaml:6: unknown key "b"`) {
		t.Errorf("error %v does not name line 6", err)
	}
	if got.Name != "n" || doc.Line("list", 1) != 6 {
		t.Errorf("got %+v, list entry on line %d", got, doc.Line("list", 1))
	}
	if _, err := whole.None.Load(&got); err == nil {
		t.Error("a section that is not there was loaded")
	}
	if _, err := plug.Load("x.yaml", "part: [1]\n", &whole); err != nil {
		t.Fatal(err)
	}
	if _, err := whole.Part.Load(&got); err == nil || !strings.Contains(err.Error(), "x.yaml:1: the section is no mapping") {
		t.Errorf("a list as section: %v", err)
	}
}
