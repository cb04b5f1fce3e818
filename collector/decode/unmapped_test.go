package decode_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/collector/decode"
)

const unmappedMapping = `version: 1
name: odd
roots: [payload, ""]
fields:
  time: [/ts]
  actor: [user.id]
  status: ["steps[].code"]
kind:
  const: api_call
`

func oddMapping(t testing.TB) *decode.Mapping {
	t.Helper()
	file := filepath.Join(t.TempDir(), "odd.yaml")
	if err := os.WriteFile(file, []byte(unmappedMapping), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := decode.Open("", file)
	if err != nil {
		t.Fatal(err)
	}
	m, err := set.Mapping("odd")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestUnmappedNamesWhatNoFieldTakes(t *testing.T) {
	m := oddMapping(t)
	f := func(record string, want ...string) {
		t.Helper()
		var got []string
		m.Unmapped([]byte(record), func(p string) { got = append(got, p) })
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%.80s (-want +got):\n%s", record, diff)
		}
	}
	f(`{"ts":1,"user":{"id":"u"}}`)
	f(`{"TS":1,"Payload":{"USER":{"ID":"u","mail":"x"}}}`, "Payload.USER.mail")
	f(`{"principal":{"id":"u"},"empty":"","nothing":null,"a":{}}`, "principal.id")
	f(`{"steps":[{"code":1,"tool":"t"},{"tool":"t2"}]}`, "steps[].tool")
	f(`{"user":{"id":{"inner":true}}}`, "user.id.inner")
	f(`{"a.b":1,"c[]":2,"":3}`)
	f(`[{"a":1}]`)
	f(`{"a":`)
	f(strings.Repeat(`{"a":`, 9) + "1" + strings.Repeat("}", 9))
	f(`{"` + strings.Repeat("k", 200) + `":1}`)
}

func TestUnmappedIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"x":0`)
	for i := range 1000 {
		b.WriteString(`,"k` + strings.Repeat("i", i%90) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + `":1`)
	}
	b.WriteString("}")
	n := 0
	oddMapping(t).Unmapped([]byte(b.String()), func(string) { n++ })
	if n != 200 {
		t.Errorf("%d paths of one record, want 200", n)
	}
}

func FuzzUnmapped(f *testing.F) {
	f.Add([]byte(`{"steps":[{"code":1,"tool":"t"}],"principal":{"id":"u"}}`))
	f.Add([]byte(`{"ſ":{"K":1}}`))
	m := oddMapping(f)
	f.Fuzz(func(t *testing.T, record []byte) {
		m.Unmapped(record, func(p string) {
			if p == "" || len(p) > 120 {
				t.Errorf("path %q", p)
			}
		})
	})
}
