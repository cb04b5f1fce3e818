package decode_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mapping.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A frame is read with the mapping that it was written with, also when the
// configuration has another one by then, or none.
func TestOldFramesKeepTheirMapping(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mappings")
	first := open(t, dir, write(t, "version: 1\nname: mine\nfields: {agent: [a]}\nkind: {const: x}\n"))
	m, err := first.Mapping("mine")
	if err != nil {
		t.Fatal(err)
	}
	b := batch(`{"a":"from a","b":"from b"}`)
	if _, err := m.Read(b, limits); err != nil {
		t.Fatal(err)
	}
	second := open(t, dir, write(t, "version: 1\nname: mine\nfields: {agent: [b]}\nkind: {const: x}\n"))
	if evs := again(t, second, b); evs[0].Agent != "from a" {
		t.Errorf("agent %q", evs[0].Agent)
	}
	path := filepath.Join(dir, m.Digest().String()+".yaml")
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("kept as %v, %v", st, err)
	}

	if err := os.WriteFile(path, []byte("version: 1\nname: mine\nfields: {agent: [c]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	third := open(t, dir)
	if err := third.Decode(&schemas.Batch{Header: b.Header, Body: b.Body, Records: b.Records}); err == nil || !strings.Contains(err.Error(), "was changed") {
		t.Errorf("a changed mapping: %v", err)
	}
	unknown := schemas.Batch{Header: b.Header, Body: b.Body, Records: b.Records}
	if unknown.Mapping[0]++; third.Decode(&unknown) == nil || !strings.Contains(third.Decode(&unknown).Error(), unknown.Mapping.String()) {
		t.Errorf("an unknown mapping: %v", third.Decode(&unknown))
	}
}

func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	s := open(t, "")
	b := read(t, "audit", `{"timestamp":0}`)
	f := func(name, want string, change func(*schemas.Batch)) {
		t.Helper()
		c := &schemas.Batch{Header: b.Header, Body: b.Body, Records: b.Records}
		change(c)
		if err := s.Decode(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f("decoder", `unknown decoder "xml"`, func(b *schemas.Batch) { b.Decoder = "xml" })
	f("version", "version 2", func(b *schemas.Batch) { b.DecoderVersion = 2 })
	f("record outside", "outside the body", func(b *schemas.Batch) { b.Records = []schemas.Record{{Start: 7, Length: 1 << 31}} })
	f("body that is not JSON", "record 0: not valid JSON", func(b *schemas.Batch) { b.Body = []byte("{x             ") })
	if err := s.Decode(&schemas.Batch{Header: schemas.Header{Flags: schemas.BatchTick}}); err != nil {
		t.Errorf("a tick: %v", err)
	}
}

func TestOverrides(t *testing.T) {
	tools := write(t, "version: 1\nname: tools\ntools: [{name: frobnicate, access: read}]\n")
	s := open(t, "", tools)
	m, err := s.Mapping("audit")
	if err != nil {
		t.Fatal(err)
	}
	shipped, err := open(t, "").Mapping("audit")
	if err != nil {
		t.Fatal(err)
	}
	if m.Digest() == shipped.Digest() {
		t.Error("another tool catalogue makes no other digest")
	}
	b := batch(`{"endpoint":"/api/v1/executeactiontool","request":{"name":"frobnicate"}}`)
	if _, err := m.Read(b, limits); err != nil || b.Events[0].Access != schemas.AccessRead {
		t.Errorf("access %s, %v", b.Events[0].Access, err)
	}
	if _, err := s.Mapping("nobody"); err == nil || !strings.Contains(err.Error(), "known mappings: agentrail, audit, csv, otlp, workflowrun") {
		t.Errorf("an unknown mapping: %v", err)
	}
}

// The detectors' words are data like any mapping.
func TestVocabulary(t *testing.T) {
	v := open(t, "").Vocabulary()
	if n := len(v.Refusals.Words); n < 20 || v.Refusals.Statuses[403] != schemas.DenialPolicy || len(v.Widening.Ladder) < 5 {
		t.Errorf("shipped: %+v", v)
	}
	v = open(t, "", "../../detectors/testdata/detection.yaml").Vocabulary()
	if v.Refusals.Words[0] != (schemas.RefusalWord{Word: "nope", Denial: schemas.DenialExpired}) || v.Widening.Ladder[1][0] != "fleet" || v.Refusals.Statuses[403] != 0 {
		t.Errorf("own: %+v", v)
	}
	if a := open(t, "").Tool("jira.create_issue"); a != schemas.AccessWrite {
		t.Errorf("shipped catalogue: %s", a)
	}
	if a := open(t, "", write(t, "version: 1\nname: tools\ntools: [{name: frob*, access: read}]\n")).Tool("frobnicate"); a != schemas.AccessRead {
		t.Errorf("own catalogue: %s", a)
	}

	good, err := os.ReadFile("../../detectors/testdata/detection.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f := func(from, to, want string) {
		t.Helper()
		if !strings.Contains(string(good), from) {
			t.Fatalf("%q is not in the file", from)
		}
		_, err := decode.Open("", write(t, strings.Replace(string(good), from, to, 1)))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "mapping.yaml") {
			t.Errorf("%s: %v; want %q", to, err, want)
		}
	}
	f("    texts: [moan]\n", "", "refusals.texts: it is missing; write []")
	f("texts: [moan]", "text: [moan]", `unknown key "text"; did you mean "texts"`)
	f("word: NOPE", "word: ''", "refusals.words: entry 1: word and denial are both needed")
	f("denial: expired", "denial: maybe", `"maybe": it is policy, expired, throttled or spend`)
	f("418: spend", "9: spend", "9 is no status")
	f("[Fleet]", "[crew]", `"crew" is on steps 1 and 2`)
	f("[Circle]", "['']", "widening.fields: entry 1 is empty")
	f("name: detection", "name: other", "vocabulary: it belongs in the file named detection")
	f("vocabulary:", "fields: {actor: [a]}\nvocabulary:", "it holds the detectors' vocabulary and nothing else")
	if _, err := decode.Open("", write(t, "version: 1\nname: detection\n")); err == nil || !strings.Contains(err.Error(), "vocabulary: it is missing") {
		t.Errorf("no vocabulary: %v", err)
	}
}

func TestExamplesCompile(t *testing.T) {
	files, err := filepath.Glob("../../schemas/mapping/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	open(t, "", files...)
}

func TestFaultsOfMappingFiles(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		_, err := decode.Open("", write(t, text))
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s\n got: %v\nwant: %s", text, err, w)
			}
		}
	}
	const head = "version: 1\nname: m\nkind: {const: x}\n"
	f("name: m\n", "mapping.yaml", "version is 0")
	f("version: 1\n", "needs a name")
	f(head+"feilds: {}\n", "mapping.yaml:4", `unknown key "feilds"`, `did you mean "fields"?`)
	f(head+"fields:\n  actr: [a]\n", "mapping.yaml:5", `unknown key "actr"`)
	f(head+"fields:\n  actor: {form: [a]}\n", "mapping.yaml:5", `unknown key "form"`)
	f(head+"fields: {actor: 7}\n", "mapping.yaml:4")
	f(head+"fields: {actor: [a..b]}\n", "empty part")
	f(head+"fields: {actor: ['']}\n", "path is empty")
	f(head+"fields: {actor: {from: [a], as: number}}\n", "fields.actor", `as: "number"`)
	f(head+"fields: {time: {from: [a], unit: days}}\n", "fields.time", `unit "days"`)
	f(head+"fields: {actor: {from: [a], values: nothing}}\n", `no table "nothing"`)
	f(head+"fields: {initiator: {from: [a], values: {X: robot}}}\n", "fields.initiator", `"robot" is not a value of initiator`)
	f(head+"uses: [nothing]\n", `no file named "nothing"`)
	f(head+"identity: random\n", `identity "random"`)
	f(head+"denials: {x: maybe}\n", "denials.x")
	f(head+"statuses: [{status: many, outcome: ok}]\n", "statuses")
	f(head+"endpoints: {known: [{path: a}]}\n", "endpoints.known")
	f(head+"endpoints: {known: [{path: 'a/{b}', action: x}]}\n", "{agent}")
	f(head+"tools: [{name: a, access: all}]\n", `access "all"`)
	f(head+"---\n"+head, "2 documents")
	f("\t- not yaml", "mapping.yaml")
	f("", "0 documents")
	if _, err := decode.Open("", "/nowhere/mapping.yaml"); err == nil {
		t.Error("a missing file is no error")
	}
}

func TestConcurrentUse(t *testing.T) {
	s := open(t, "", "testdata/bench.yaml")
	m, err := s.Mapping("bench")
	if err != nil {
		t.Fatal(err)
	}
	body := string(flatBody(20))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				b := batch(body)
				if _, err := m.Read(b, limits); err != nil {
					t.Error(err)
				}
				if err := s.Decode(&schemas.Batch{Header: b.Header, Body: b.Body, Records: b.Records}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
