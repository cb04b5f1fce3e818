package sigma

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// ruleOrder is the order of the keys of a rule; what is not listed comes last,
// as it was written.
var ruleOrder = []string{
	"title", "id", "name", "related", "taxonomy", "status", "description", "license", "references", "author", "date", "modified", "tags",
	"scope", "logsource", "detection", "correlation", "filter", "fields", "falsepositives", "level", "runbook",
}

// partOrder is the order of the keys of parts of a rule.
var partOrder = map[string][]string{
	"logsource":   {"category", "product", "service", "definition"},
	"correlation": {"type", "rules", "group-by", "timespan", "condition", "generate", "aliases"},
}

// Format writes a file of rules in one way: keys in the usual order, the
// condition of a detection behind its selections, two spaces of indentation.
// Comments stay, and so does what the rules mean: a document that cannot be
// written anew without a change in either is an error that names its place.
// Format of its own result changes nothing.
func Format(name string, data []byte) ([]byte, error) {
	if len(data) > largestFile {
		return nil, &Refusal{name, 1, fmt.Sprintf("file has %d bytes, more than %d", len(data), largestFile)}
	}
	var out bytes.Buffer
	for _, p := range pieces(data) {
		text, err := formatPiece(name, p)
		if err != nil {
			return nil, err
		}
		if text == "" {
			continue
		}
		if out.Len() > 0 {
			out.WriteString("---\n")
		}
		out.WriteString(text)
	}
	return out.Bytes(), nil
}

// formatPiece writes one document anew, until that changes nothing: the YAML
// writer may move a comment once more.
func formatPiece(name string, p piece) (string, error) {
	text := p.text
	if rest, ok := strings.CutPrefix(text, "---"); ok { // what stands behind the mark belongs to the document
		text = strings.TrimLeft(rest, " \t\n")
	}
	const most = 4
	for range most {
		next, err := rewrite(name, p.line, text)
		if err != nil || next == text {
			return next, err
		}
		text = next
	}
	return "", &Refusal{name, p.line, "it has no form in which it stays; it is left as it is"}
}

// rewrite writes one document anew.
func rewrite(name string, line int, text string) (string, error) {
	before, err := parsePiece(name, line, text)
	if err != nil {
		return "", err
	}
	if len(before.Content) == 0 { // comments alone
		if text = strings.TrimSpace(text); text != "" {
			text += "\n"
		}
		return text, nil
	}
	want, comments := meaning(before), remarks(before)
	if !slices.ContainsFunc(flat(before), func(n *yaml.Node) bool { return n.Kind == yaml.AliasNode }) {
		arrange(before.Content[0])
	}
	out, err := yaml.Dump(before, yaml.WithIndent(2), yaml.WithCompactSeqIndent(false), yaml.WithLineWidth(-1))
	if err != nil {
		return "", &Refusal{name, line, "it cannot be written: " + err.Error()}
	}
	after, err := parsePiece(name, line, string(out))
	if err != nil || meaning(after) != want || !slices.Equal(remarks(after), comments) || bytes.Count(out, []byte("#")) != strings.Count(text, "#") {
		return "", &Refusal{name, line, "to write it anew would change what it says; it is left as it is"}
	}
	return string(out), nil
}

func parsePiece(name string, line int, text string) (_ *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil { // of the YAML reader
			err = &Refusal{name, line, fmt.Sprintf("not YAML: %v", r)}
		}
	}()
	if len(text) > largestDoc {
		return nil, &Refusal{name, line, fmt.Sprintf("document has %d bytes, more than %d", len(text), largestDoc)}
	}
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		return nil, &Refusal{name, line, fmt.Sprintf("not YAML: %s (lines counted from here)", strings.ReplaceAll(err.Error(), "\n", "; "))}
	}
	if len(n.Content) > 0 && n.Content[0].Kind != yaml.MappingNode {
		return nil, &Refusal{name, line, "a rule is a map"}
	}
	if len(flat(&n)) > mostNodes {
		return nil, &Refusal{name, line, fmt.Sprintf("document has more than %d nodes", mostNodes)}
	}
	return &n, nil
}

// arrange puts the keys of a rule, and of its parts, into their order.
func arrange(rule *yaml.Node) {
	sortKeys(rule, func(key string) int { return place(ruleOrder, key) })
	for part, order := range partOrder {
		if n := child(rule, part); n != nil && n.Kind == yaml.MappingNode {
			sortKeys(n, func(key string) int { return place(order, key) })
		}
	}
	for _, part := range []string{"detection", "filter"} {
		if n := child(rule, part); n != nil && n.Kind == yaml.MappingNode {
			sortKeys(n, func(key string) int { return slices.Index([]string{"condition"}, key) })
		}
	}
}

// place returns where a key stands; those that are not listed come last.
func place(order []string, key string) int {
	if i := slices.Index(order, key); i >= 0 {
		return i
	}
	return len(order)
}

func sortKeys(n *yaml.Node, place func(key string) int) {
	pairs := slices.Collect(slices.Chunk(n.Content, 2))
	slices.SortStableFunc(pairs, func(a, b []*yaml.Node) int { return cmp.Compare(place(a[0].Value), place(b[0].Value)) })
	n.Content = slices.Concat(pairs...)
}

// meaning writes what a document says without how it says it.
func meaning(n *yaml.Node) string {
	var kids []string
	for _, k := range n.Content {
		kids = append(kids, meaning(k))
	}
	if n.Kind == yaml.MappingNode {
		var pairs []string
		for p := range slices.Chunk(kids, 2) {
			pairs = append(pairs, strings.Join(p, ": "))
		}
		slices.Sort(pairs)
		kids = pairs
	}
	return fmt.Sprintf("%d %s %q %q %q", n.Kind, n.ShortTag(), n.Anchor, n.Value, kids)
}

// remarks returns the comments, in no order.
func remarks(n *yaml.Node) (out []string) {
	for _, k := range flat(n) {
		for _, c := range []string{k.HeadComment, k.LineComment, k.FootComment} {
			for line := range strings.Lines(c) {
				if line = strings.TrimSpace(line); line != "" {
					out = append(out, line)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// flat returns a node and all below it; what an alias leads to is not below it.
func flat(n *yaml.Node) []*yaml.Node {
	out := []*yaml.Node{n}
	for _, k := range n.Content {
		out = append(out, flat(k)...)
	}
	return out
}
