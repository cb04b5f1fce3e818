package sigma

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	largestFile   = 4 << 20
	largestDoc    = 1 << 20
	mostNodes     = 50_000
	deepestDoc    = 64
	mostDocuments = 10_000
)

// Refusal says why a document was not loaded.
type Refusal struct {
	File   string
	Line   int
	Reason string
}

func (r *Refusal) Error() string { return fmt.Sprintf("%s:%d: %s", r.File, r.Line, r.Reason) }

// document is one YAML document of a file, its aliases written out.
type document struct {
	file string
	line int // of its first line
	root *yaml.Node
}

// at makes a refusal at a node, or at the document where n is nil.
func (d *document) at(n *yaml.Node, format string, args ...any) error {
	line := d.line
	if n == nil {
		n = d.root
	}
	if n != nil && n.Line > 0 {
		line += n.Line - 1
	}
	return &Refusal{d.file, line, fmt.Sprintf(format, args...)}
}

func (d *document) get(key string) *yaml.Node { return child(d.root, key) }

func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; n != nil && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// texts reads a list of texts, or a single one.
func (d *document) texts(key string) ([]string, error) { return d.listOf(d.get(key), key) }

func (d *document) listOf(n *yaml.Node, what string) ([]string, error) {
	switch {
	case n == nil || n.Tag == "!!null":
		return nil, nil
	case n.Kind == yaml.ScalarNode:
		return []string{n.Value}, nil
	case n.Kind != yaml.SequenceNode:
		return nil, d.at(n, "%s is not a list", what)
	}
	var out []string
	for _, e := range n.Content {
		if e.Kind != yaml.ScalarNode {
			return nil, d.at(e, "%s holds something that is not text", what)
		}
		out = append(out, e.Value)
	}
	return out, nil
}

// parseFile cuts a file into documents. One that cannot be read is refused by
// itself, the others of the file go on.
func parseFile(name string, data []byte) (docs []*document, refused []error) {
	if len(data) > largestFile {
		return nil, []error{&Refusal{name, 1, fmt.Sprintf("file has %d bytes, more than %d", len(data), largestFile)}}
	}
	for _, p := range pieces(data) {
		if len(docs) >= mostDocuments {
			return docs, append(refused, &Refusal{name, p.line, fmt.Sprintf("file has more than %d documents", mostDocuments)})
		}
		d, err := parseDocument(name, p.line, p.text)
		if err != nil {
			refused = append(refused, err)
		} else if d != nil {
			docs = append(docs, d)
		}
	}
	return docs, refused
}

// piece is the text of one document of a file, with the mark before it.
type piece struct {
	line int
	text string
}

// pieces cuts a file at the marks between documents; empty ones are left out.
func pieces(data []byte) (out []piece) {
	lines := strings.SplitAfter(strings.TrimPrefix(string(data), "\ufeff"), "\n")
	from := 0
	take := func(to int) {
		text, line := strings.Join(lines[from:to], ""), from+1
		if from = to; strings.TrimSpace(text) != "" && text != "---\n" {
			out = append(out, piece{line, text})
		}
	}
	for i, l := range lines {
		if i > from && (strings.TrimRight(l, " \t\r\n") == "---" || strings.HasPrefix(l, "--- ")) {
			take(i)
		}
	}
	take(len(lines))
	return out
}

func parseDocument(name string, line int, text string) (_ *document, err error) {
	d := &document{file: name, line: line}
	if len(text) > largestDoc {
		return nil, d.at(nil, "document has %d bytes, more than %d", len(text), largestDoc)
	}
	defer func() {
		if p := recover(); p != nil { // of the YAML reader
			err = d.at(nil, "not YAML: %v", p)
		}
	}()
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(text), &root); err != nil {
		return nil, d.at(nil, "not YAML: %s (lines counted from here)", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if len(root.Content) == 0 || root.Content[0].Tag == "!!null" {
		return nil, nil
	}
	w := writer{left: mostNodes}
	if d.root, err = w.node(root.Content[0], 0); err != nil {
		return nil, d.at(w.at, "%v", err)
	}
	if d.root.Kind != yaml.MappingNode {
		return nil, d.at(d.root, "a rule is a map")
	}
	return d, nil
}

// writer writes aliases out, up to a number of nodes, and finds keys that are
// there twice.
type writer struct {
	left int
	at   *yaml.Node
}

func (w *writer) node(n *yaml.Node, depth int) (*yaml.Node, error) {
	w.at = n
	if w.left--; w.left < 0 {
		return nil, fmt.Errorf("document has more than %d nodes once its aliases are written out", mostNodes)
	}
	if depth > deepestDoc {
		return nil, fmt.Errorf("document is nested deeper than %d", deepestDoc)
	}
	if n.Kind == yaml.AliasNode {
		return w.node(n.Alias, depth+1)
	}
	out := *n
	out.Content = make([]*yaml.Node, 0, len(n.Content))
	for _, c := range n.Content {
		kid, err := w.node(c, depth+1)
		if err != nil {
			return nil, err
		}
		out.Content = append(out.Content, kid)
	}
	out.Tag = out.ShortTag()
	if n.Kind == yaml.MappingNode {
		seen := map[string]bool{}
		for i := 0; i+1 < len(out.Content); i += 2 {
			k := out.Content[i]
			if w.at = n.Content[i]; k.Kind != yaml.ScalarNode {
				return nil, errors.New("a key is not text")
			}
			if k.Tag == "!!merge" {
				return nil, errors.New("merge keys (<<) are not part of Sigma")
			}
			if seen[k.Value] {
				return nil, fmt.Errorf("key %q is there twice", k.Value)
			}
			seen[k.Value] = true
		}
	}
	return &out, nil
}
