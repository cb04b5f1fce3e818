package format_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"unicode/utf8"
)

// ocsfSchema is the published schema as data: see testdata/schema.
type ocsfSchema struct {
	Types   map[string]ocsfType   `json:"types"`
	Classes map[string]ocsfObject `json:"classes"`
	Objects map[string]ocsfObject `json:"objects"`
}

type ocsfObject struct {
	Category   int64               `json:"category_uid"`
	AtLeastOne []string            `json:"at_least_one"`
	Attributes map[string]ocsfAttr `json:"attributes"`
}

type ocsfAttr struct {
	Type     string   `json:"type"`
	Required bool     `json:"required"`
	Array    bool     `json:"array"`
	Enum     []string `json:"enum"`
	Profile  string   `json:"profile"`
}

type ocsfType struct {
	Type   string  `json:"type"` // what it is one of
	Regex  string  `json:"regex"`
	MaxLen int     `json:"max_len"`
	Range  []int64 `json:"range"`

	pattern *regexp.Regexp
	known   map[string]bool // texts that match: a day repeats itself
}

// loadOCSF reads the schema and what later ones add to it.
func loadOCSF(t testing.TB, added ...string) *ocsfSchema {
	t.Helper()
	s := &ocsfSchema{}
	read := func(name string, into *ocsfSchema) {
		data, err := os.ReadFile("testdata/schema/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	read("ocsf-1.8.0.json", s)
	for _, name := range added {
		var more ocsfSchema
		read(name, &more)
		maps.Copy(s.Objects, more.Objects)
		for class, c := range more.Classes {
			maps.Copy(s.Classes[class].Attributes, c.Attributes)
		}
	}
	for name, typ := range s.Types {
		if typ.Regex != "" {
			typ.pattern, typ.known = regexp.MustCompile(typ.Regex), map[string]bool{}
			s.Types[name] = typ
		}
	}
	s.Classes["0"] = s.common()
	return s
}

// common returns the Base Event: what all classes have.
func (s *ocsfSchema) common() ocsfObject {
	base := ocsfObject{Attributes: map[string]ocsfAttr{}}
	for name, a := range s.Classes["6003"].Attributes {
		_, entity := s.Classes["3004"].Attributes[name]
		_, finding := s.Classes["2004"].Attributes[name]
		if entity && finding {
			base.Attributes[name] = a
		}
	}
	return base
}

// validate holds a line to the schema: its class, the type, the requirement
// and the enumeration of each attribute, the constraints of each object, and
// the numbers that follow from others.
func (s *ocsfSchema) validate(line []byte, version string) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var ev map[string]any
	if err := dec.Decode(&ev); err != nil {
		return err
	}
	num := func(name string) int64 {
		n, _ := strconv.ParseInt(fmt.Sprint(ev[name]), 10, 64)
		return n
	}
	class, ok := s.Classes[fmt.Sprint(ev["class_uid"])]
	switch {
	case !ok:
		return fmt.Errorf("class_uid %v", ev["class_uid"])
	case num("category_uid") != class.Category:
		return fmt.Errorf("category_uid %v of class %v", ev["category_uid"], ev["class_uid"])
	case num("type_uid") != num("class_uid")*100+num("activity_id"):
		return fmt.Errorf("type_uid %v", ev["type_uid"])
	case num("activity_id") == 99 && ev["activity_name"] == nil:
		return fmt.Errorf("activity_id 99 without activity_name")
	}
	meta, _ := ev["metadata"].(map[string]any)
	if meta["version"] != version {
		return fmt.Errorf("metadata.version %v", meta["version"])
	}
	profiles, _ := meta["profiles"].([]any)
	for name := range ev {
		if p := class.Attributes[name].Profile; p != "" && !slices.Contains(profiles, any(p)) {
			return fmt.Errorf("%s: profile %s is not among metadata.profiles", name, p)
		}
	}
	return s.object(class, ev, "")
}

func (s *ocsfSchema) object(def ocsfObject, got map[string]any, at string) error {
	for name, a := range def.Attributes {
		if _, ok := got[name]; a.Required && a.Profile == "" && !ok {
			return fmt.Errorf("%s%s: is required", at, name)
		}
	}
	if len(def.AtLeastOne) > 0 && !slices.ContainsFunc(def.AtLeastOne, func(n string) bool { return got[n] != nil }) {
		return fmt.Errorf("%s: has none of %v", at, def.AtLeastOne)
	}
	for name, v := range got {
		a, ok := def.Attributes[name]
		if !ok {
			return fmt.Errorf("%s%s: is no attribute", at, name)
		}
		list := []any{v}
		if a.Array {
			if list, ok = v.([]any); !ok || len(list) == 0 {
				return fmt.Errorf("%s%s: is no array or an empty one", at, name)
			}
		}
		for _, v := range list {
			if err := s.value(a, v, at+name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *ocsfSchema) value(a ocsfAttr, v any, at string) error {
	if a.Type == "object" {
		if _, ok := v.(map[string]any); !ok {
			return fmt.Errorf("%s: is no object", at)
		}
		return nil
	}
	if def, ok := s.Objects[a.Type]; ok {
		sub, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: is no object", at)
		}
		return s.object(def, sub, at+".")
	}
	if len(a.Enum) > 0 && !slices.Contains(a.Enum, fmt.Sprint(v)) {
		return fmt.Errorf("%s: %v is none of %v", at, v, a.Enum)
	}
	return s.scalar(a.Type, v, at)
}

func (s *ocsfSchema) scalar(name string, v any, at string) error {
	typ, ok := s.Types[name]
	if !ok {
		return fmt.Errorf("%s: the schema has no type %s", at, name)
	}
	switch name {
	case "json_t":
		return nil
	case "boolean_t":
		if _, ok := v.(bool); !ok {
			return fmt.Errorf("%s: %v is no boolean", at, v)
		}
		return nil
	case "integer_t", "long_t":
		return whole(v, map[string]int{"integer_t": 31, "long_t": 63}[name], at)
	case "string_t":
		if _, ok := v.(string); !ok {
			return fmt.Errorf("%s: %v is no string", at, v)
		}
		return nil
	}
	if text, ok := v.(string); ok {
		if typ.pattern != nil && !typ.known[text] {
			if !typ.pattern.MatchString(text) {
				return fmt.Errorf("%s: %q is no %s", at, text, name)
			}
			typ.known[text] = true
		}
		if typ.MaxLen > 0 && utf8.RuneCountInString(text) > typ.MaxLen {
			return fmt.Errorf("%s: %q is longer than a %s", at, text, name)
		}
	}
	return s.scalar(typ.Type, v, at)
}

func whole(v any, bits int, at string) error {
	text, ok := v.(json.Number)
	n, isInt := new(big.Int).SetString(string(text), 10)
	if !ok || !isInt || n.BitLen() > bits {
		return fmt.Errorf("%s: %v is no whole number of %d bits", at, v, bits)
	}
	return nil
}

func TestOCSFValidatorFindsFaults(t *testing.T) {
	s := loadOCSF(t)
	good := `{"activity_id":2,"category_uid":6,"class_uid":6003,"type_uid":600302,"severity_id":1,"time":1,` +
		`"metadata":{"version":"1.8.0","product":{"name":"x"}},"actor":{"user":{"uid":"u"}},"api":{"operation":"o"},"src_endpoint":{"svc_name":"s"}}`
	if err := s.validate([]byte(good), "1.8.0"); err != nil {
		t.Fatal(err)
	}
	f := func(old, new string) {
		t.Helper()
		bad := bytes.Replace([]byte(good), []byte(old), []byte(new), 1)
		if bytes.Equal(bad, []byte(good)) {
			t.Fatalf("%s: not there", old)
		}
		if s.validate(bad, "1.8.0") == nil {
			t.Errorf("%s for %s was not found", new, old)
		}
	}
	f(`"uid":"u"`, ``)
	f(`"uid":"u"`, `"uid":7`)
	f(`"uid":"u"`, `"uid":"u","email_addr":"nobody"`)
	f(`"uid":"u"`, `"uid":"u","type_id":77`)
	f(`"svc_name":"s"`, `"ip":"1.2.3"`)
	f(`"svc_name":"s"`, `"zone":"z"`)
	f(`"severity_id":1`, `"severity_id":7`)
	f(`"severity_id":1`, `"severity_id":"1"`)
	f(`"severity_id":1,`, ``)
	f(`"type_uid":600302`, `"type_uid":600303`)
	f(`"category_uid":6`, `"category_uid":3`)
	f(`"api":{`, `"resources":[],"api":{`)
	f(`"api":{`, `"trace":{"uid":"t"},"api":{`)
	f(`"api":{`, `"invented":1,"api":{`)
	f(`"time":1`, `"time":1.5`)
	f(`"version":"1.8.0"`, `"version":"1.7.0"`)
}
