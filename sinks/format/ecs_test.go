package format_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// ecsSchema is the published field set as data: see testdata/schema.
type ecsSchema struct {
	types  map[string]string   // of fields
	values map[string][]string // that are allowed
}

func loadECS(t testing.TB) ecsSchema {
	t.Helper()
	f, err := os.Open("testdata/schema/ecs-9.4.0.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := ecsSchema{types: map[string]string{}, values: map[string][]string{}}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if name, values, ok := strings.Cut(line, " = "); ok {
			s.values[name] = strings.Fields(values)
		} else if words := strings.Fields(line); line[0] != '#' {
			s.types[words[0]] = words[1]
			if len(words) > 2 && !strings.HasPrefix(words[0], "gen_ai.") {
				s.types[words[0]] = "too new" // for an index of 8.x
			}
		}
	}
	return s
}

// check holds a line to the field set: each name is known, and its value such
// that an index with the published mapping takes it.
func (s ecsSchema) check(line []byte) error {
	var doc map[string]any
	if err := json.Unmarshal(line, &doc); err != nil {
		return err
	}
	delete(doc, "agentrail")
	return s.walk(doc, "")
}

func (s ecsSchema) walk(doc map[string]any, at string) error {
	for name, v := range doc {
		if sub, ok := v.(map[string]any); ok {
			if err := s.walk(sub, at+name+"."); err != nil {
				return err
			}
			continue
		}
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, v := range list {
			if err := s.field(at+name, v); err != nil {
				return err
			}
		}
	}
	if event, ok := doc["event"].(map[string]any); ok && event["category"] != nil {
		category := fmt.Sprint(event["category"].([]any)[0])
		for _, typ := range event["type"].([]any) {
			if allowed := s.values["event.type of "+category]; !slices.Contains(allowed, fmt.Sprint(typ)) {
				return fmt.Errorf("event.type %v of category %s: allowed are %v", typ, category, allowed)
			}
		}
	}
	return nil
}

func (s ecsSchema) field(name string, v any) error {
	ok := false
	switch text, isText := v.(string); s.types[name] {
	case "keyword", "wildcard", "match_only_text":
		ok = isText
	case "long":
		n, isNumber := v.(float64)
		ok = isNumber && n == float64(int64(n))
	case "date":
		_, err := time.Parse(time.RFC3339Nano, text)
		ok = err == nil
	case "ip":
		_, err := netip.ParseAddr(text)
		ok = err == nil
	}
	if !ok {
		return fmt.Errorf("%s: %v is no %q", name, v, s.types[name])
	}
	if allowed := s.values[name]; allowed != nil && !slices.Contains(allowed, fmt.Sprint(v)) {
		return fmt.Errorf("%s: %v is none of %v", name, v, allowed)
	}
	return nil
}

// TestECSOfTheDay holds all of the labelled day, and what no day brings, to the
// published field set.
func TestECSOfTheDay(t *testing.T) {
	schema := loadECS(t)
	evs := sampleDay(t)
	for _, text := range naughty {
		for class := schemas.ClassActivity; class <= schemas.ClassHealth; class++ {
			for out := schemas.OutcomeUnknown; out <= schemas.OutcomeCancelled; out++ {
				ev := schemas.Event{Class: class, Outcome: out, Status: -7, Duration: -1}
				for _, set := range texts {
					*set(&ev) = text
				}
				managed := ev
				managed.Action = "agent.delete"
				evs = append(evs, ev, managed)
			}
		}
	}
	var line []byte
	for i := range evs {
		line = format.ECS(line[:0], &evs[i])
		if err := schema.check(line); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
	}
}

func TestECSCheckFindsFaults(t *testing.T) {
	schema := loadECS(t)
	for _, bad := range []string{
		`{"event":{"invented":"x"}}`, `{"event":{"kind":"x"}}`, `{"source":{"ip":"1.2.3"}}`, `{"event":{"severity":"high"}}`, `{"@timestamp":"today"}`,
		`{"event":{"category":["configuration"],"type":["denied"]}}`, `{"user":{"id":7}}`,
	} {
		if schema.check([]byte(bad)) == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
