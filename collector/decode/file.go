package decode

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"go.yaml.in/yaml/v4"
)

// file is one mapping file as written; schemas/mapping/audit.yaml explains the
// keys to those who write one.
type file struct {
	Version  int      `yaml:"version"`
	Name     string   `yaml:"name"`
	Format   string   `yaml:"format"`
	Uses     []string `yaml:"uses"`
	Roots    []string `yaml:"roots"`
	Identity string   `yaml:"identity"`

	Fields  fields  `yaml:"fields"`
	Kind    kinds   `yaml:"kind"`
	Outcome outcome `yaml:"outcome"`
	Spans   *spans  `yaml:"spans"`

	Values    map[string]map[string]string `yaml:"values"`
	Denials   map[string]string            `yaml:"denials"`
	Statuses  []status                     `yaml:"statuses"`
	Endpoints endpoints                    `yaml:"endpoints"`
	Tools     []tool                       `yaml:"tools"`

	Vocabulary *schemas.Vocabulary `yaml:"vocabulary"`
}

// fields has one entry for each field of an event that a mapping can fill, in
// the order of the field constants.
type fields struct {
	Time         field `yaml:"time"`
	SourceID     field `yaml:"source_id"`
	Log          field `yaml:"log"`
	Actor        field `yaml:"actor"`
	ActorEmail   field `yaml:"actor_email"`
	ActorType    field `yaml:"actor_type"`
	Department   field `yaml:"department"`
	Agent        field `yaml:"agent"`
	Name         field `yaml:"name"`
	Owner        field `yaml:"owner"`
	Subscription field `yaml:"subscription"`
	Run          field `yaml:"run"`
	Session      field `yaml:"session"`
	Trace        field `yaml:"trace"`
	Span         field `yaml:"span"`
	Action       field `yaml:"action"`
	SourceAction field `yaml:"source_action"`
	Endpoint     field `yaml:"endpoint"`
	Method       field `yaml:"method"`
	Tool         field `yaml:"tool"`
	Target       field `yaml:"target"`
	IP           field `yaml:"ip"`
	UserAgent    field `yaml:"user_agent"`
	Status       field `yaml:"status"`
	Duration     field `yaml:"duration"`
	Initiator    field `yaml:"initiator"`
	Access       field `yaml:"access"`
	Autonomous   field `yaml:"autonomous"`
	Scrubbed     field `yaml:"scrubbed"`
}

type field struct {
	From   []string `yaml:"from"`
	Const  string   `yaml:"const"`
	Values values   `yaml:"values"`
	As     string   `yaml:"as"`
	Unit   string   `yaml:"unit"`
	When   []string `yaml:"when"`
	Layout []string `yaml:"layout"` // of time, in tables
	Zone   string   `yaml:"zone"`   // of time, in tables
}

// UnmarshalYAML takes the long form, and a list of paths as the short one.
func (f *field) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode {
		return n.Load(&f.From)
	}
	type plain field
	return n.Load((*plain)(f), yaml.WithKnownFields())
}

// values is a table of its own or the name of one.
type values struct {
	name  string
	table map[string]string
}

// UnmarshalYAML takes a name or a table.
func (v *values) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Load(&v.name)
	}
	return n.Load(&v.table)
}

type kinds struct {
	Const   string            `yaml:"const"`
	From    []string          `yaml:"from"`
	Log     bool              `yaml:"log"`
	Present map[string]string `yaml:"present"`
	Default string            `yaml:"default"`
	Known   map[string]verb   `yaml:"known"`
}

// verb is what something means: a normalised action and its access.
type verb struct {
	Action string `yaml:"action"`
	Access string `yaml:"access"`
}

type outcome struct {
	Text  []string `yaml:"text"`
	Code  []string `yaml:"code"`
	Error []string `yaml:"error"`
	Why   []string `yaml:"why"`
}

type status struct {
	Status  string `yaml:"status"`
	Outcome string `yaml:"outcome"`
	Denial  string `yaml:"denial"`
}

type endpoints struct {
	Families []string        `yaml:"families"`
	Known    []endpoint      `yaml:"known"`
	Verbs    map[string]verb `yaml:"verbs"`
}

type endpoint struct {
	Path   string `yaml:"path"`
	Method string `yaml:"method"`
	Action string `yaml:"action"`
	Access string `yaml:"access"`
}

type tool struct {
	Name   string `yaml:"name"`
	Access string `yaml:"access"`
}

// parse reads one mapping file. Faults name file and line.
func parse(name string, data []byte) (*file, error) {
	docs, err := parseAll(name, data)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, fmt.Errorf("%s: it holds %d documents; a mapping file holds one", name, len(docs))
	}
	return docs[0], nil
}

// parseAll reads a file of one or more documents, as they are kept in the
// data folder.
func parseAll(name string, data []byte) ([]*file, error) {
	dec, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithKnownFields())
	if err != nil {
		return nil, fmt.Errorf("read mapping %s: %w", name, err)
	}
	var docs []*file
	for {
		f := new(file)
		err := dec.Load(f)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, plug.Explain(name, err, f)
		}
		if f.Version != 1 {
			return nil, fmt.Errorf("%s: version is %d; this program reads version 1", name, f.Version)
		}
		if f.Name == "" || strings.ContainsAny(f.Name, "/\\ \n") {
			return nil, fmt.Errorf("%s: name %q: a mapping needs a name without spaces and slashes", name, f.Name)
		}
		docs = append(docs, f)
	}
}
