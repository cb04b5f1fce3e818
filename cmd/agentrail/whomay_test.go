package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/internal/auth"
)

// roleColumns are the columns of the table in the README.
var roleColumns = []auth.Role{
	auth.RoleMember, auth.RoleCreator, auth.RoleViewer, auth.RoleAnalyst, auth.RoleModerator, auth.RoleAdmin, auth.RoleAuditor, auth.RoleIngest, auth.RoleExecutor, auth.RoleSQL,
}

// asking is one thing that a role may or may not do.
type asking struct {
	what, method, url, body string
	executor                bool
}

// TestWhoMayWhat asks a running server, its pages and a running executor for
// everything there is, as each role, as nobody and as an admin of another tenant,
// and holds the table in the README to the answers; -update writes it.
func TestWhoMayWhat(t *testing.T) {
	h := layHouse(t)
	for _, role := range roleColumns {
		h.token("tokens.yaml", "s-"+string(role), "role-"+string(role), "default", role)
		h.token("executor-tokens.yaml", "x-"+string(role), "role-"+string(role), "default", role)
	}
	h.token("tokens.yaml", "s-stranger", "stranger", "rival", auth.RoleAdmin)
	h.token("executor-tokens.yaml", "x-stranger", "stranger", "rival", auth.RoleAdmin)
	h.withSQL("")
	h.serve()
	h.execute()

	var rows []string
	sets := map[string][]string{}
	add := func(set, what string) {
		if sets[set] == nil {
			rows = append(rows, set)
		}
		sets[set] = append(sets[set], "`"+what+"`")
	}
	all := append(documented(t, api.OpenAPI(), h.server, false), h.pages()...)
	all = append(all, verbsOf(t, h.server)...)
	all = append(all, documented(t, platform.OpenAPI(), h.address, true)...)
	for _, q := range all {
		nobody, stranger := h.may(q, ""), h.may(q, "stranger")
		if q.executor && stranger != nobody {
			t.Errorf("%s: an admin of another tenant may: %t, nobody: %t", q.what, stranger, nobody)
		}
		var set strings.Builder
		for _, role := range roleColumns {
			may := h.may(q, string(role))
			if nobody && !may {
				t.Errorf("%s: %s may not, and nobody may", q.what, role)
			}
			set.WriteString(mark(may))
		}
		if nobody {
			set.Reset()
			set.WriteString("everybody")
		}
		add(set.String(), q.what)
	}
	add(h.content(), "records as received: prompts, arguments, answers")

	var table strings.Builder
	table.WriteString("| what |")
	for _, role := range roleColumns {
		fmt.Fprintf(&table, " %s |", role)
	}
	table.WriteString("\n|---|" + strings.Repeat(":-:|", len(roleColumns)) + "\n")
	for _, set := range rows {
		fmt.Fprintf(&table, "| %s |", strings.Join(sets[set], ", "))
		if set == "everybody" {
			set = strings.Repeat("●", len(roleColumns))
		}
		for _, m := range set {
			fmt.Fprintf(&table, " %s |", strings.TrimSpace(strings.ReplaceAll(string(m), ".", " ")))
		}
		table.WriteString("\n")
	}
	file := filepath.Join("..", "..", "README.md")
	readme, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- who may what: made by go test ./cmd/agentrail -run TestWhoMayWhat -update -->\n", "<!-- end -->"
	before, rest, ok1 := strings.Cut(string(readme), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("the README has no place for the table:\n%s", table.String())
	}
	if old == table.String() {
		return
	}
	if !*update {
		t.Fatalf("the README's table is\n%s\nthe answers are\n%s", old, table.String())
	}
	if err := os.WriteFile(file, []byte(before+begin+table.String()+end+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mark(may bool) string {
	if may {
		return "●"
	}
	return "."
}

// documented returns every operation of an OpenAPI document.
func documented(t *testing.T, document []byte, server string, executor bool) (out []asking) {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, method := range []string{"get", "post", "put", "delete"} {
			if doc.Paths[path][method] == nil || path == "/mcp" || strings.Contains(path, "webhooks") { // these have their own doors
				continue
			}
			q := asking{method: strings.ToUpper(method), executor: executor}
			q.what = q.method + " " + strings.TrimPrefix(strings.TrimPrefix(path, api.Prefix+"/"), platform.PlatformPrefix+"/")
			if executor && !strings.Contains(path, "/executor/") && !strings.HasPrefix(path, platform.PlatformPrefix) {
				q.what += " (executor)"
			}
			q.url = server + strings.NewReplacer("{id}", "00000000000000000000000000000001", "{name}", "nobody").Replace(path)
			switch {
			case path == sqlPath:
				q.body = "SELECT 1"
			case q.method == http.MethodPost:
				q.body = "{}"
			}
			out = append(out, q)
		}
	}
	return out
}

// verbsOf returns every control that the document knows.
func verbsOf(t *testing.T, server string) (out []asking) {
	t.Helper()
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Enum []string }
			}
		}
	}
	if err := json.Unmarshal(api.OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	verbs := doc.Components.Schemas["ControlRequest"].Properties["verb"].Enum
	if len(verbs) < 10 {
		t.Fatalf("the document knows the controls %v", verbs)
	}
	for _, v := range verbs {
		body := fmt.Sprintf(`{"verb":%q,"target":"none","reason":"who may","ttl":"1h","args":{"assignee":"x","digest":"x","query":"x"}}`, v)
		out = append(out, asking{what: "control " + v, method: http.MethodPost, url: server + api.Prefix + "/control", body: body})
	}
	return out
}

var navigation = regexp.MustCompile(`(?s)<nav.*?</nav>`)

// pages returns those that the navigation leads to.
func (h *house) pages() (out []asking) {
	h.t.Helper()
	_, body := h.ask(asking{method: http.MethodGet, url: h.server + "/"}, string(auth.RoleAdmin))
	for _, m := range regexp.MustCompile(`href="(/[^"]*)"`).FindAllStringSubmatch(navigation.FindString(body), -1) {
		out = append(out, asking{what: "page " + m[1], method: http.MethodGet, url: h.server + m[1]})
	}
	if len(out) < 3 {
		h.t.Fatalf("the page leads to %v", out)
	}
	return out
}

// may reports whether the door is open; what is behind it may say no for other
// reasons.
func (h *house) may(q asking, role string) bool {
	h.t.Helper()
	status, body := h.ask(q, role)
	switch status {
	case http.StatusUnauthorized, http.StatusSeeOther:
		return false
	case http.StatusForbidden:
		if !strings.Contains(q.what, "page") && !strings.Contains(body, `"missing_role"`) && !strings.Contains(body, `"wrong_tenant"`) && !strings.Contains(body, `"not_operator"`) &&
			!strings.Contains(body, `"can_share_and_publish_agents"`) {
			h.t.Errorf("%s as %q: %s", q.what, role, body)
		}
		return false
	case http.StatusMethodNotAllowed:
		h.t.Errorf("%s as %q: %d", q.what, role, status)
	}
	return true
}

func (h *house) ask(q asking, role string) (int, string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), q.method, q.url, strings.NewReader(q.body))
	if err != nil {
		h.t.Fatal(err)
	}
	if role != "" {
		file := "s-" + role
		if q.executor {
			file = "x-" + role
		}
		token, err := os.ReadFile(h.path(file))
		if err != nil {
			h.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+string(token))
	}
	if q.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := c.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Body.Close()
	if r.Header.Get("Content-Type") == "text/event-stream" { // it does not end
		return r.StatusCode, ""
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

// content says who sees records as received, on the page and by the API.
func (h *house) content() string {
	h.t.Helper()
	ingest := asking{method: http.MethodPost, url: h.server + "/v1/audit", body: record("shown", time.Now().UTC(), "runworkflow", "u_a")}
	if status, body := h.ask(ingest, string(auth.RoleIngest)); status != http.StatusAccepted {
		h.t.Fatalf("%d %s", status, body)
	}
	id := h.recorded("what was sent", func(e api.Event) bool { return e.SourceID == "shown" }).ID
	var set strings.Builder
	for _, role := range roleColumns {
		_, answer := h.ask(asking{method: http.MethodGet, url: h.server + api.Prefix + "/events/" + id}, string(role))
		_, page := h.ask(asking{method: http.MethodGet, url: h.server + "/events/" + id}, string(role))
		if strings.Contains(answer, canary) != strings.Contains(page, canary) {
			h.t.Errorf("%s sees content in one of page and API", role)
		}
		set.WriteString(mark(strings.Contains(answer, canary)))
	}
	return set.String()
}
