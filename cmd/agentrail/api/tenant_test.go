package api_test

import (
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// Whatever a caller puts into path, query, headers and body, the answer holds
// nothing of the other tenant and nothing is asked of or appended to it.
func TestTenantComesFromTheCredentialOnly(t *testing.T) {
	r := newRig(t, nil)
	var paths []string
	for _, p := range api.Patterns() {
		if !strings.HasSuffix(p, "/stream") { // TestStreamShowsOwnTenantAndClasses
			paths = append(paths, p)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		tenant := rapid.SampledFrom([]string{acme, rival}).Draw(rt, "tenant")
		other := map[string]string{acme: rival, rival: acme}[tenant]
		who := tenant + "/" + rapid.SampledFrom([]string{"viewer", "analyst", "admin", "auditor"}).Draw(rt, "role")
		method, path, _ := strings.Cut(rapid.SampledFrom(paths).Draw(rt, "path"), " ")
		path = strings.ReplaceAll(path, "{id}", rapid.SampledFrom([]string{eventID(0), "a1", "d1", other, "..%2f" + other}).Draw(rt, "id"))
		path += rapid.SampledFrom([]string{"", "?tenant=" + other, "?actor=" + other, "?run=" + other + "-run", "?tenant_id=" + other}).Draw(rt, "query")
		body := ""
		if method == http.MethodPost {
			body = rapid.SampledFrom([]string{
				`{"verb":"dlq.retry","target":"d1","reason":"x"}`,
				`{"verb":"dlq.drop","target":"d1","reason":"x","args":{"tenant":"` + other + `"}}`,
				`{"verb":"dlq.drop","target":"d1","reason":"x","tenant":"` + other + `"}`,
				`{"name":"old","reason":"x"}`,
			}).Draw(rt, "body")
		}
		r.store.queries, r.log.batches = nil, nil
		got := r.do(who, method, path, body, "X-Tenant", other, "X-Scope-OrgID", other)

		said := strings.ReplaceAll(got.body, `"tenant":"`+other+`"}`, "") // args come back as they were sent
		said = strings.ReplaceAll(said, `/`+other, "")                    // so does an unknown path
		if got.status < 300 && strings.Contains(said, other) {
			rt.Errorf("%s %s as %s: answer tells of %s: %s", method, path, who, other, got.body)
		}
		for _, q := range r.store.queries {
			if q.Tenant != tenant {
				rt.Errorf("%s %s as %s: store was asked for tenant %q", method, path, who, q.Tenant)
			}
		}
		for _, b := range r.log.batches {
			if b.Tenant != tenant || b.Events[0].Tenant != tenant {
				rt.Errorf("%s %s as %s: appended for tenant %q", method, path, who, b.Tenant)
			}
		}
	})
}
