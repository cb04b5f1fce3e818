package schemas_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/schemas"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiled returns the JSON Schema of that name, with formats asserted.
func compiled(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(filepath.Join("json", name+".schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, name string, raw []byte) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return compiled(t, name).Validate(doc)
}

// properties returns the names of the properties of a schema, and of those of
// its properties that are objects or lists of objects, by dotted path.
func properties(t *testing.T, name string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("json", name+".schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Properties map[string]*schema `json:"properties"`
		Items      *schema            `json:"items"`
	}
	var root schema
	if err := json.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	var out []string
	var walk func(prefix string, s *schema)
	walk = func(prefix string, s *schema) {
		for k, p := range s.Properties {
			out = append(out, prefix+k)
			walk(prefix+k+".", p)
			if p.Items != nil {
				walk(prefix+k+".", p.Items)
			}
		}
	}
	walk("", &root)
	slices.Sort(out)
	return out
}

// tags returns the JSON names of a struct in the same way.
func tags(typ reflect.Type, prefix string) []string {
	var out []string
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out = append(out, prefix+name)
		ft := f.Type
		if ft.Kind() == reflect.Slice || ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		if ft.Kind() == reflect.Struct && ft != reflect.TypeFor[time.Time]() {
			out = append(out, tags(ft, prefix+name+".")...)
		}
	}
	slices.Sort(out)
	return out
}

// filled returns a value of the type with every field set.
func filled(typ reflect.Type) reflect.Value {
	v := reflect.New(typ).Elem()
	switch {
	case typ == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(1787303702, 4000000).UTC()))
	case typ.Kind() == reflect.String:
		v.SetString("text")
	case v.CanInt():
		v.SetInt(7)
	case v.CanUint():
		v.SetUint(7)
	case v.CanFloat():
		v.SetFloat(1.5)
	case typ.Kind() == reflect.Bool:
		v.SetBool(true)
	case typ.Kind() == reflect.Struct:
		for i := range v.NumField() {
			v.Field(i).Set(filled(typ.Field(i).Type))
		}
	case typ.Kind() == reflect.Slice:
		v.Set(reflect.Append(v, filled(typ.Elem())))
	case typ.Kind() == reflect.Pointer:
		v.Set(reflect.New(typ.Elem()))
		v.Elem().Set(filled(typ.Elem()))
	case typ.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(typ))
		v.SetMapIndex(filled(typ.Key()), filled(typ.Elem()))
	}
	return v
}

func TestSchemasOfWhatIsEmitted(t *testing.T) {
	alert := filled(reflect.TypeFor[schemas.Alert]()).Interface().(schemas.Alert)
	alert.ID, alert.Transition = schemas.AlertID("t", "r", alert.Entity, schemas.ID{}), schemas.TransitionOpen
	alert.Severity, alert.Confidence, alert.Initiator = schemas.SeverityHigh, "high", "schedule"
	alert.Life.State, alert.Life.Before = schemas.StateSilenced, schemas.StateOpen
	small := schemas.Alert{ID: alert.ID, Seq: 1, Transition: schemas.TransitionResolve, Severity: schemas.SeverityLow, Confidence: "low"}
	f := func(name string, typ reflect.Type, values ...any) {
		t.Helper()
		if d := cmp.Diff(tags(typ, ""), properties(t, name)); d != "" {
			t.Errorf("%s: the schema has other fields than the struct (-struct +schema):\n%s", name, d)
		}
		if values == nil {
			values = []any{filled(typ).Interface(), reflect.Zero(typ).Interface()}
		}
		for _, v := range values {
			raw, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate(t, name, raw); err != nil {
				t.Errorf("%s: %s\n%v", name, raw, err)
			}
		}
	}
	f("alert", reflect.TypeFor[schemas.Alert](), alert, small)
	f("control", reflect.TypeFor[schemas.Control]())
	f("dead_letter", reflect.TypeFor[schemas.DeadLetter]())
	f("health", reflect.TypeFor[schemas.Health]())
	f("head", reflect.TypeFor[schemas.Head]())
	f("statement", reflect.TypeFor[schemas.Statement]())
}

func TestSchemaOfEvents(t *testing.T) {
	ev := full()
	ev.Flags, ev.Head = 1<<16-1, &schemas.Head{Origin: "o", At: time.Unix(0, 0).UTC()}
	out := schemas.AppendJSON(nil, &ev)
	var names map[string]any
	if err := json.Unmarshal(out, &names); err != nil {
		t.Fatal(err)
	}
	var have []string
	for k := range names {
		have = append(have, k)
	}
	slices.Sort(have)
	if d := cmp.Diff(have, properties(t, "event")); d != "" {
		t.Errorf("the schema has other fields than AppendJSON writes (-written +schema):\n%s", d)
	}
	bare := schemas.Event{Class: schemas.ClassHealth, Tenant: "t", Source: "s", Flags: schemas.FlagRejected}
	for _, raw := range [][]byte{out, schemas.AppendJSON(nil, &bare)} {
		if err := validate(t, "event", raw); err != nil {
			t.Errorf("%s\n%v", raw, err)
		}
	}
	if validate(t, "event", bytes.Replace(out, []byte(`"outcome":"denied"`), []byte(`"outcome":"maybe"`), 1)) == nil {
		t.Error("an unknown outcome is valid")
	}
}

func TestSchemasOfWhatIsAccepted(t *testing.T) {
	for _, name := range []string{"workflowrun", "audit"} {
		raw, err := os.ReadFile(filepath.Join("..", "collector", "decode", "testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, name, raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if validate(t, name, []byte(`[]`)) == nil || validate(t, name, []byte(`{"jsonPayload":7}`)) == nil {
			t.Errorf("%s: what is no record is valid", name)
		}
	}
}
