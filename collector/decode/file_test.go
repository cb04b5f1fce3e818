package decode

import (
	"testing"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/schemas/mapping"
)

// FuzzMapping: a mapping file is refused or works; it never breaks a reading.
func FuzzMapping(f *testing.F) {
	for _, s := range []string{
		"version: 1\nname: m\nkind: {const: x}\nfields: {actor: ['a[].b'], time: {from: [/t, t], unit: ms}}\n",
		"version: 1\nname: m\nroots: [jsonPayload, '']\nkind: {from: [Type], present: {A: b}, known: {c: {action: d, access: read}}}\noutcome: {text: [s], code: [c], error: [e], why: [w]}\n",
		"version: 1\nname: m\nendpoints: {families: [/api/], known: [{path: 'a/{agent}', action: x}], verbs: {get: {action: g, access: read}}}\nfields: {endpoint: [endpoint], method: {const: GET}}\n",
		"version: 1\nname: m\nvalues: {outcomes: {a: ok}}\ndenials: {x: policy}\nstatuses: [{status: 400-499, outcome: error}]\ntools: [{name: 'a*', access: read}]\n",
		"version: 1\nname: &a m\nuses: [*a, *a]\n",
	} {
		f.Add([]byte(s))
	}
	if raw, err := mapping.Files.ReadFile("agentrail.yaml"); err == nil {
		f.Add(raw)
	}
	const body = `{"t":0,"a":[{"b":"x"}],"endpoint":"/api/x/y","Type":"T","s":"a","c":"x","e":{},"jsonPayload":{"A":{}}}`
	f.Fuzz(func(t *testing.T, raw []byte) {
		doc, err := parse("m", raw)
		if err != nil {
			return
		}
		m, err := assemble("m", raw, doc, []*file{doc})
		if err != nil {
			return
		}
		b := &schemas.Batch{Header: schemas.Header{Tenant: "t", Source: "s", Received: 1}, Body: []byte(body)}
		if _, err := m.Read(b, Limits{}); err != nil {
			t.Fatal(err)
		}
		if err := m.again(b); err != nil {
			t.Fatal(err)
		}
	})
}
