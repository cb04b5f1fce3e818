package alerting

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/config/receiver"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"

	"github.com/agentrail/agentrail/internal/plug"
)

// routing is an alertmanager.yml that was read, with what is made of it.
type routing struct {
	conf      *config.Config
	templates *template.Template
	receivers map[string][]notify.Integration
}

// Check reads an alertmanager.yml with its templates, receivers and the files
// that hold its secrets, and returns every fault with its place.
func Check(path string) error {
	_, err := load(path, slog.New(slog.DiscardHandler))
	return err
}

// load reads an alertmanager.yml as Alertmanager does. Unlike Alertmanager it
// makes all receivers, those without a route as well, and looks for the files of
// secrets: what would fail at three in the morning fails now.
func load(path string, log *slog.Logger) (*routing, error) {
	doc, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read alerting.file: %w", err)
	}
	conf, err := config.LoadFile(path)
	if err != nil {
		return nil, fault(path, doc, err)
	}
	if err := secretFiles(path, doc); err != nil {
		return nil, err
	}
	r := &routing{conf: conf, receivers: map[string][]notify.Integration{}}
	if r.templates, err = template.FromGlobs(conf.Templates); err != nil {
		return nil, fault(path, doc, fmt.Errorf("templates: %w", err))
	}
	for _, rc := range conf.Receivers {
		made, err := receiver.BuildReceiverIntegrations(rc, r.templates, log)
		if err != nil {
			return nil, fault(path, doc, fmt.Errorf("receiver %q: %w", rc.Name, err))
		}
		r.receivers[rc.Name] = made
	}
	return r, nil
}

var (
	saysLine = regexp.MustCompile(`line (\d+): `)
	quoted   = regexp.MustCompile(`"([^"]+)"`)
	anchored = regexp.MustCompile("`\\^\\(\\?:(.*)\\)\\$`")
)

// fault gives an error of Alertmanager its place: the line that YAML names, or
// the last one that holds a word which the error quotes or the expression that
// it speaks of.
func fault(path string, doc []byte, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := saysLine.FindStringSubmatch(text); m != nil {
		line, _ := strconv.Atoi(m[1])
		text = strings.Join(strings.Fields(strings.TrimPrefix(saysLine.ReplaceAllString(text, ""), "unmarshal errors:")), " ")
		return &plug.Error{File: path, Line: line, Msg: text}
	}
	if text != err.Error() { // YAML's own, which names no line where it is the first
		return &plug.Error{File: path, Line: 1, Msg: text}
	}
	lines := strings.Split(string(doc), "\n")
	last := func(of *regexp.Regexp) int {
		for i, line := range slices.Backward(lines) {
			if of.MatchString(line) {
				return i + 1
			}
		}
		return 0
	}
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		if line := last(regexp.MustCompile(`(^|\W)` + regexp.QuoteMeta(m[1]) + `($|\W)`)); line > 0 {
			return &plug.Error{File: path, Line: line, Msg: text}
		}
	}
	if m := anchored.FindStringSubmatch(text); m != nil {
		return &plug.Error{File: path, Line: last(regexp.MustCompile(`~\s*["']?` + regexp.QuoteMeta(m[1]))), Msg: text}
	}
	return &plug.Error{File: path, Msg: text}
}

// secretFiles looks for the files that hold secrets, such as api_url_file.
func secretFiles(path string, doc []byte) error {
	var root yaml.Node
	if err := yaml.Load(doc, &root); err != nil {
		return plug.Explain(path, err, nil)
	}
	var errs []error
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for i, c := range n.Content {
			if n.Kind != yaml.MappingNode || i%2 == 0 {
				continue
			}
			if key := n.Content[i-1].Value; strings.HasSuffix(key, "_file") && c.Kind == yaml.ScalarNode && c.Value != "" {
				name := c.Value
				if !filepath.IsAbs(name) {
					name = filepath.Join(filepath.Dir(path), name)
				}
				if f, err := os.Open(name); err != nil {
					errs = append(errs, &plug.Error{File: path, Line: c.Line, Msg: key + ": " + err.Error(), Hint: "write the secret there, readable by this server alone"})
				} else {
					f.Close()
				}
			}
		}
		for _, c := range n.Content {
			walk(c)
		}
	}
	walk(&root)
	return errors.Join(errs...)
}
