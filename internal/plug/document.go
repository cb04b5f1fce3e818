package plug

import (
	"errors"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Document is a YAML file that was decoded strictly and still knows where each
// of its values stands.
type Document struct {
	File string
	root *yaml.Node
}

// Load decodes the one document of a YAML file into a pointer to a struct with
// yaml tags. A key that the struct does not have is an error with its line, and
// so is a second document. What could be decoded is in into, and the Document
// is returned, even with an error, unless the text is no YAML at all.
func Load(file, text string, into any) (*Document, error) {
	dec, err := yaml.NewLoader(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	var root yaml.Node
	switch err := dec.Load(&root); {
	case errors.Is(err, io.EOF):
		return nil, &Error{File: file, Line: 1, Msg: "the file is empty"}
	case err != nil:
		return nil, Explain(file, err, into)
	}
	d := &Document{File: file, root: &root}
	if len(root.Content) == 0 || root.Content[0].Kind != yaml.MappingNode {
		return nil, &Error{File: file, Line: 1, Msg: "the file is no mapping", Hint: "write it as lines of key: value"}
	}
	var second yaml.Node
	if err := dec.Load(&second); !errors.Is(err, io.EOF) {
		return d, &Error{File: file, Line: max(1, second.Line), Msg: "the file holds more than one document", Hint: "keep one file for each"}
	}
	if err := root.Load(into, yaml.WithKnownFields()); err != nil {
		return d, Explain(file, err, into)
	}
	return d, nil
}

// Line returns the line of the value at a path of keys (string) and indexes
// (int), or of the deepest part of the path that there is.
func (d *Document) Line(path ...any) int {
	n := d.root.Content[0]
	line := n.Line
	for _, step := range path {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		next := (*yaml.Node)(nil)
		switch s := step.(type) {
		case int:
			if n.Kind == yaml.SequenceNode && s < len(n.Content) {
				next = n.Content[s]
				line = next.Line
			}
		case string:
			for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == s {
					next, line = n.Content[i+1], n.Content[i].Line
				}
			}
		}
		if next == nil {
			break
		}
		n = next
	}
	return line
}

// Fault returns an error at the value of the path.
func (d *Document) Fault(hint, msg string, path ...any) *Error {
	return &Error{File: d.File, Line: d.Line(path...), Msg: msg, Hint: hint}
}

// Section is a part of a config file that whoever owns it decodes later, with
// the same care as a file of its own. Whoever loads the file sets File.
type Section struct {
	File string
	node *yaml.Node
}

// UnmarshalYAML keeps the section for a later Load.
func (s *Section) UnmarshalYAML(n *yaml.Node) error {
	s.node = n
	return nil
}

// IsZero reports whether the file does not have the section.
func (s Section) IsZero() bool { return s.node == nil }

// Load decodes the section strictly, as Load does a file.
func (s Section) Load(into any) (*Document, error) {
	if s.node == nil || s.node.Kind != yaml.MappingNode {
		line := 0
		if s.node != nil {
			line = s.node.Line
		}
		return nil, &Error{File: s.File, Line: line, Msg: "the section is no mapping", Hint: "write it as lines of key: value"}
	}
	d := &Document{File: s.File, root: &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{s.node}}}
	if err := s.node.Load(into, yaml.WithKnownFields()); err != nil {
		return d, Explain(s.File, err, into)
	}
	return d, nil
}
