package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"
)

// shows are the formats of verbs that show documents.
var shows = []string{"table", "json", "yaml"}

// addShow adds the flag --output to a verb that shows documents.
func addShow(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVarP(into, "output", "o", "table", "format: table, json or yaml")
	closedSet(cmd, "output", shows...)
}

// show writes a document: for people by table, else as JSON or YAML.
func (c *console) show(format string, doc any, table func() error) error {
	switch format {
	case "table":
		return table()
	case "json":
		return printJSON(c.out, doc)
	case "yaml":
		return c.printYAML(doc)
	}
	return usagef("use --output table, json or yaml", "unknown output format %q", format)
}

// checkShow refuses an unknown format before anything is asked for.
func checkShow(format string) error {
	if slices.Contains(shows, format) {
		return nil
	}
	return usagef("use --output table, json or yaml", "unknown output format %q", format)
}

// printYAML writes the document with the names and the order of its JSON, which
// is YAML already.
func (c *console) printYAML(doc any) error {
	b, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	var n yaml.Node
	if err := yaml.Load(escapeJSON(b), &n); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	blocks(&n)
	out, err := yaml.Dump(&n)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	_, err = c.out.Write(bytes.TrimPrefix(out, []byte("---\n")))
	return err
}

// blocks takes the brackets and quotes of JSON away where YAML needs none.
func blocks(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle | yaml.DoubleQuotedStyle
	for _, c := range n.Content {
		blocks(c)
	}
}
