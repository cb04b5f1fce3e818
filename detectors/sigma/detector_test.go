package sigma_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/detectors/rules"
	"github.com/agentrail/agentrail/detectors/sigma"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// desk is an engine with one detector of kind sigma, and what it appended.
type desk struct {
	t      *testing.T
	engine *detectors.Engine
	offset uint64
	alerts []schemas.Alert
	log    bytes.Buffer
	reg    *prometheus.Registry
}

func openDesk(t *testing.T, fields string) *desk {
	t.Helper()
	return openDeskWith(t, fields, detectors.Ruling{})
}

func openDeskWith(t *testing.T, fields string, ruling detectors.Ruling) *desk {
	t.Helper()
	d := &desk{t: t, reg: prometheus.NewRegistry()}
	c, err := plug.NewConfig("sigma", "rules", fields)
	if err != nil {
		t.Fatal(err)
	}
	set, err := decode.Open("")
	if err != nil {
		t.Fatal(err)
	}
	d.engine, err = detectors.NewEngine(detectors.Options{
		Detectors: []plug.Config{c}, Ruling: ruling, Own: decode.Own, Vocabulary: set.Vocabulary(), Reg: d.reg,
		Log: slog.New(slog.NewTextHandler(&d.log, nil)),
		Append: func(_ context.Context, b *schemas.Batch) (uint64, error) {
			for _, ev := range b.Events {
				var a schemas.Alert
				if err := json.Unmarshal(ev.Raw, &a); err != nil {
					t.Error(err)
				}
				d.alerts = append(d.alerts, a)
			}
			return 0, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// send appends one event as a batch of its own, at that second.
func (d *desk) send(sec int, tenant string, with func(*schemas.Event)) {
	d.t.Helper()
	at := noon.Add(time.Duration(sec) * time.Second).UnixNano()
	ev := schemas.Event{
		ID: schemas.ProducerID(tenant, d.offset, 0), Class: schemas.ClassActivity, Tenant: tenant, Source: "audit", Kind: "api_call",
		Action: "tool.execute", Tool: "jira.delete_issue", Outcome: schemas.OutcomeOK, Actor: "u1", Agent: "a1", Run: "r1",
		Time: at, Received: at, Offset: d.offset,
	}
	if with != nil {
		with(&ev)
	}
	b := &schemas.Batch{Header: schemas.Header{Tenant: tenant, Source: "audit", Class: schemas.ClassActivity, Received: ev.Received, Offset: d.offset}}
	b.Events, b.Records = []schemas.Event{ev}, []schemas.Record{{ID: ev.ID}}
	d.offset++
	if err := d.engine.Consume(d.t.Context(), []*schemas.Batch{b}); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) opened() (out []string) {
	for _, a := range d.alerts {
		if lacks := a.Lacks(); lacks != nil {
			d.t.Errorf("alert of %s lacks %s: %q", a.Rule, strings.Join(lacks, "; "), a.Reason)
		}
		if a.Transition == schemas.TransitionOpen {
			out = append(out, fmt.Sprintf("%s %s %s/%s %s", a.Tenant, a.Rule, a.Entity.Kind, a.Entity.ID, a.Severity))
		}
	}
	return out
}

// TestDetector runs the shipped rules over a run that deletes ten things: one
// alert, with everything that a person asks of it.
func TestDetector(t *testing.T) {
	d := openDesk(t, "{}")
	for i := range 9 {
		d.send(i, "acme", nil)
		d.send(i, "other", func(ev *schemas.Event) { ev.Run = fmt.Sprint("r", i) })
	}
	if len(d.alerts) > 0 {
		t.Fatalf("alerts before the tenth: %v", d.opened())
	}
	d.send(9, "acme", nil)
	d.send(10, "other", nil) // the tenth there, but the windows of tenants are apart
	if diff := cmp.Diff([]string{"acme destruction_in_run agent/a1 high"}, d.opened()); diff != "" {
		t.Fatal(diff)
	}
	a := d.alerts[0]
	want := `One run deletes many things: the number of matching events is 10 within 10m0s for agent "a1", run "r1".`
	if a.Reason != want || a.Count != 10 || a.Observed != 10 || a.Threshold != 10 || len(a.Evidence) != 1 || a.Evidence[0].Offset != 18 {
		t.Errorf("alert: %+v", a)
	}
	if strings.Join(a.Tags, " ") != "attack.atlas.aml.t0101 owasp.asi02 owasp.asi10 owasp.llm06" || !strings.HasPrefix(strings.Join(a.Next[2:], " "), "Pause the subscription") || a.Run != "r1" || a.Actor != "u1" {
		t.Errorf("alert: %+v", a)
	}
	d.send(20, "acme", func(ev *schemas.Event) { ev.Action, ev.Run = "agent.delete", "" })
	if a := d.alerts[len(d.alerts)-1]; a.Rule != "agent_definition_changed" || a.Reason != `Agent created, changed or deleted: 1 event has action "agent.delete", outcome "ok".` {
		t.Errorf("alert: %+v", a)
	}
}

// TestSnapshot goes on in the middle of a window with a fresh engine, and the
// same state gives the same bytes.
func TestSnapshot(t *testing.T) {
	d := openDesk(t, "{rules: shipped}")
	for i := range 5 {
		d.send(i, "acme", nil)
	}
	var state, again bytes.Buffer
	if _, err := d.engine.WriteTo(&state); err != nil {
		t.Fatal(err)
	}
	next := openDesk(t, "{rules: shipped}")
	if _, err := next.engine.ReadFrom(bytes.NewReader(state.Bytes())); err != nil {
		t.Fatal(err)
	}
	if _, err := next.engine.WriteTo(&again); err != nil || !bytes.Equal(state.Bytes(), again.Bytes()) {
		t.Errorf("state differs after it was restored: %v", err)
	}
	next.offset = d.offset
	for i := range 5 {
		next.send(5+i, "acme", nil)
	}
	if got := next.opened(); len(got) != 1 {
		t.Errorf("opened %v, log %s", got, next.log.String())
	}
	// A fault anywhere in the state starts the detector afresh, and is told.
	for i := 30; i < state.Len(); i += 7 {
		torn := openDesk(t, "{rules: shipped}")
		if _, err := torn.engine.ReadFrom(bytes.NewReader(state.Bytes()[:i])); err != nil || !strings.Contains(torn.log.String(), "start fresh") {
			t.Fatalf("cut at %d: %v, %s", i, err, torn.log.String())
		}
	}
}

// TestFarFuture holds that one record from the year 2262 blinds no window.
func TestFarFuture(t *testing.T) {
	d := openDesk(t, "{}")
	d.send(0, "acme", func(ev *schemas.Event) { ev.Time, ev.Agent, ev.Run = 1<<63-1, "other", "other" })
	for i := range 10 {
		d.send(i, "acme", nil)
	}
	if got := d.opened(); len(got) != 1 {
		t.Errorf("opened %v", got)
	}
}

// TestOwnRules opens a folder: what is refused is logged and counted, and the
// other rules go on. A rule may look into the record itself.
func TestOwnRules(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.yml", "title: secrets\nname: secrets\nlogsource: {product: agentrail, service: audit}\ndetection: {s: {request.query|contains: password}, k: [vault], condition: s and k}\nlevel: critical\n")
	write("b.yml", "title: bad\nlogsource: {product: agentrail}\ndetection: {s: {x|y: 1}, condition: s}\n")
	d := openDesk(t, "{rules: "+dir+"}")
	if log := d.log.String(); !strings.Contains(log, "b.yml:3: x|y: unknown modifier") {
		t.Errorf("log: %s", log)
	}
	if err := testutil.GatherAndCompare(d.reg, strings.NewReader("# HELP agentrail_detectors_refused_rules Rules that could not be loaded; each is logged with file, line and reason.\n# TYPE agentrail_detectors_refused_rules gauge\nagentrail_detectors_refused_rules{detector=\"rules\"} 1\n"), "agentrail_detectors_refused_rules"); err != nil {
		t.Error(err)
	}
	raw := func(s string) func(*schemas.Event) { return func(ev *schemas.Event) { ev.Raw = []byte(s) } }
	d.send(0, "acme", raw(`{"request":{"query":"the PASSWORD of root"},"from":["x","the vault"]}`))
	d.send(1, "acme", raw(`{"request":{"query":"weather"},"from":["vault"]}`))
	d.send(2, "acme", raw(`{"request":`))
	if diff := cmp.Diff([]string{"acme secrets agent/a1 critical"}, d.opened()); diff != "" {
		t.Error(diff)
	}
	f := func(fields, want string) {
		t.Helper()
		c, err := plug.NewConfig("sigma", "rules", fields)
		if err != nil {
			t.Fatal(err)
		}
		_, err = detectors.NewEngine(detectors.Options{
			Detectors: []plug.Config{c}, Own: decode.Own, Vocabulary: &schemas.Vocabulary{},
			Append: func(context.Context, *schemas.Batch) (uint64, error) { return 0, nil },
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", fields, err, want)
		}
	}
	f("{rules: "+dir+"/none}", "is no folder")
	f("{rules: "+t.TempDir()+"}", "none of")
	f("{map: nowhere.yaml}", "map:")
	f("{quiet: 0s}", "must be more than 0")
	f("{rulez: x}", "rulez")
}

// TestModeOfARule: a rule says itself what may follow from it; the config goes
// before it.
func TestModeOfARule(t *testing.T) {
	dir := t.TempDir()
	text := "title: t\nid: 0b6f4d3a-6a52-4a60-9d07-4a5a8f0e7c11\nname: mine\nlogsource: {product: agentrail}\ndetection: {s: {action: tool.execute}, condition: s}\nagentrail: {mode: shadow}\n"
	if err := os.WriteFile(filepath.Join(dir, "a.yml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(want schemas.Mode, from string, modes map[string]schemas.Mode) {
		t.Helper()
		d := openDeskWith(t, "{rules: "+dir+"}", detectors.Ruling{Modes: modes})
		d.send(0, "acme", nil)
		if len(d.alerts) != 1 || d.alerts[0].Mode != want || d.alerts[0].Rule != "mine" {
			t.Errorf("%v: %+v", modes, d.alerts)
		}
		if r := d.engine.Rules(); len(r) != 1 || r[0].Mode != want || r[0].From != from || r[0].Name != "mine" || r[0].Detector != "rules" {
			t.Errorf("%v: %+v", modes, r)
		}
	}
	f(schemas.ModeShadow, "rule", nil)
	f(schemas.ModeEnforce, "config", map[string]schemas.Mode{"mine": schemas.ModeEnforce})
	f(schemas.ModeWarn, "config", map[string]schemas.Mode{"0b6f4d3a-6a52-4a60-9d07-4a5a8f0e7c11": schemas.ModeWarn})
	f(schemas.ModeWarn, "config", map[string]schemas.Mode{"rules": schemas.ModeWarn})
	f(schemas.ModeEnforce, "config", map[string]schemas.Mode{"rules": schemas.ModeWarn, "mine": schemas.ModeEnforce})
	for bad, want := range map[string]string{
		"agentrail: {mode: quiet}": ":4: agentrail.mode is none of", "agentrail: shadow": "is not a map", "agentrail: {mood: shadow}": `no key "mood"`, "agentrail: {}": "is none of",
	} {
		set := load(t, "title: t\nlogsource: {product: p}\ndetection: {s: {a: 1}, condition: s}\n"+bad, nil)
		if len(set.Refused) != 1 || !strings.Contains(set.Refused[0].Error(), want) {
			t.Errorf("%s: %v, want %q", bad, set.Refused, want)
		}
	}
}

// TestSpanAttributes: rules name the attributes of spans as they stand.
func TestSpanAttributes(t *testing.T) {
	number := func(key string, n uint64) []byte {
		pair := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte(key))
		pair = protowire.AppendBytes(protowire.AppendTag(pair, 2, protowire.BytesType), protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), n))
		return protowire.AppendBytes(protowire.AppendTag(nil, 9, protowire.BytesType), pair)
	}
	m, err := sigma.ShippedMap()
	if err != nil {
		t.Fatal(err)
	}
	set, err := sigma.Load(rules.Files, "", sigma.Options{Map: m})
	if err != nil {
		t.Fatal(err)
	}
	f := func(raw []byte, want bool) {
		t.Helper()
		e, found := sigma.NewEvaluator(set, sigma.EvalOptions{}), false
		for i := range 40 {
			ev := schemas.Event{Tenant: "acme", Source: "otlp", Kind: schemas.KindSpan, Action: "model.call", Agent: "a1", Access: schemas.AccessRead, Raw: raw, RawText: true}
			e.Event(&ev, int64(i)*int64(time.Minute), func(m *sigma.Match) { found = found || m.Rule.Name == "tokens_in_an_hour" })
		}
		if found != want {
			t.Errorf("tokens_in_an_hour matches: %v, want %v", found, want)
		}
	}
	f(number("gen_ai.usage.input_tokens", 50_000), true)
	f(number("gen_ai.usage.output_tokens", 50_000), false)
	f(number("gen_ai.usage.input_tokens", 40_000), false)
	f([]byte("\xff no protobuf"), false)
}
