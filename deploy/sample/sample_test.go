package sample_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/deploy/sample"
)

// thursday is an hour of a working day at which the day's window holds a whole
// night of the tenant and its working hours.
var thursday = time.Date(2026, 11, 19, 17, 0, 0, 0, time.UTC)

func day(seed uint64) *sample.Day {
	return sample.Generate(sample.Options{Seed: seed, End: thursday})
}

func small(seed uint64) *sample.Day {
	return sample.Generate(sample.Options{Seed: seed, End: thursday, Agents: 20, Users: 80})
}

// theDay and aSmallDay are for all tests that only read them.
var (
	theDay    = sync.OnceValue(func() *sample.Day { return day(5) })
	aSmallDay = sync.OnceValue(func() *sample.Day { return small(5) })
)

func TestSameSeedSameBytes(t *testing.T) {
	a, b, other := aSmallDay(), small(5), small(6)
	if !slices.EqualFunc(a.Deliveries, b.Deliveries, func(x, y sample.Delivery) bool {
		return x.Source == y.Source && x.At.Equal(y.At) && bytes.Equal(x.Body(), y.Body())
	}) {
		t.Error("the same options made different records")
	}
	if diff := cmp.Diff(a.Labels, b.Labels); diff != "" {
		t.Errorf("the same options made different labels (-first +second):\n%s", diff)
	}
	if bytes.Equal(a.Deliveries[0].Body(), other.Deliveries[0].Body()) {
		t.Error("another seed made the same records")
	}
	if a.Labels[0].Start.Equal(other.Labels[0].Start) {
		t.Error("another seed planted at the same time")
	}
}

func TestDayHasItsSize(t *testing.T) {
	d, half := theDay(), aSmallDay()
	own := d.Records - d.History
	if own < 35_000 || own > 60_000 {
		t.Errorf("the day holds %d records, want some 50,000", own)
	}
	if d.History > 2*own/3 {
		t.Errorf("the history holds %d records, want less than two thirds of the day's %d", d.History, own)
	}
	if half.Records > 3*d.Records/4 { // incidents are as large
		t.Errorf("half the agents and people made %d records, all of them %d", half.Records, d.Records)
	}
}

func TestRecordsLieInTheDayAndAreDeliveredOnce(t *testing.T) {
	d := theDay()
	ids := map[string]bool{}
	for _, dl := range d.Deliveries {
		for _, r := range dl.Records {
			if r.Time.Before(d.Start.AddDate(0, 0, -29)) || !r.Time.Before(d.End) {
				t.Fatalf("record %s is of %s, outside of the day and its history", r.ID, r.Time)
			}
			if dl.At.Before(r.Time) {
				t.Fatalf("record %s of %s is handed over at %s", r.ID, r.Time, dl.At)
			}
			if dl.History && !r.Time.Before(d.Start) {
				t.Fatalf("record %s of %s is handed over as history", r.ID, r.Time)
			}
			if !dl.Repeat && ids[r.ID] {
				t.Fatalf("record %s is delivered twice, and not as a repeat", r.ID)
			}
			ids[r.ID] = true
		}
	}
	if len(ids) != d.Records {
		t.Errorf("%d records were delivered, want %d", len(ids), d.Records)
	}
}

func TestOrderOfDeliveryIsNotTheOrderOfTime(t *testing.T) {
	d := aSmallDay()
	calls, ends := map[string]int{}, map[string]int{}
	n := 0
	newest, disordered := map[string]time.Time{}, map[string]int{}
	for _, dl := range d.Deliveries {
		if dl.Repeat {
			continue
		}
		for _, r := range dl.Records {
			n++
			if r.Time.Before(newest[r.Source]) {
				disordered[r.Source]++
			} else {
				newest[r.Source] = r.Time
			}
			doc := parse(t, r.Body)
			payload := field(doc, "jsonpayload")
			if run, _ := field(payload, "runid").(string); r.Source == sample.SourceAudit && run != "" {
				calls[run] = n
			}
			if run, _ := field(field(payload, "workflowrun"), "runid").(string); run != "" {
				ends[run] = n
			}
		}
	}
	after, both := 0, 0
	for run, end := range ends {
		if last, ok := calls[run]; ok {
			both++
			if end > last {
				after++
			}
		}
	}
	if share := float64(after) / float64(both); share < 0.25 || share > 0.75 {
		t.Errorf("%.0f %% of %d WorkflowRun records come after their run's calls, want both orders often", 100*share, both)
	}
	for _, source := range []string{sample.SourceAudit, sample.SourceWorkflowRun} {
		if disordered[source] == 0 {
			t.Errorf("all records of %s are delivered in order of time", source)
		}
	}
}

// forbidden are keys of what the platform is not known to write.
var forbidden = []string{
	"triggertype", "trigger_type", "trigger", "subscriptionid", "subscription", "writeactiontype", "actiontype", "iswrite", "access", "readonly",
	"owner", "ownerid", "createdby", "executor", "executorid", "onbehalfof", "subscriber", "label", "incident", "twin", "seed", "benign",
}

func TestRecordsHoldNothingThatTheSourceDoesNotSay(t *testing.T) {
	for r := range aSmallDay().All() {
		doc := parse(t, r.Body)
		walk(doc, "", func(path, key string) {
			if slices.Contains(forbidden, key) {
				t.Fatalf("record holds %s%s:\n%s", path, key, r.Body)
			}
			if key == "traceid" && !strings.HasSuffix(path, "chatfeedback.") {
				t.Fatalf("record holds %s%s:\n%s", path, key, r.Body)
			}
		})
		payload := field(doc, "jsonpayload").(map[string]any)
		if endpoint, _ := field(payload, "endpoint").(string); strings.Contains(endpoint, "subscription") {
			if field(payload, "request") != nil || field(payload, "response") != nil {
				t.Fatalf("record says what is in a subscription:\n%s", r.Body)
			}
		}
	}
}

func TestLabelsFitTheRecords(t *testing.T) {
	d := aSmallDay()
	bodies := map[string]sample.Record{}
	for r := range d.All() {
		bodies[r.ID] = r
	}
	of := map[string]string{}
	pairs := map[string][]bool{}
	for _, l := range d.Labels {
		pairs[l.Incident] = append(pairs[l.Incident], l.Twin)
		if len(l.Records) == 0 || l.What == "" || len(l.Rules) == 0 {
			t.Errorf("%s (twin %v): the label is empty", l.Incident, l.Twin)
		}
		for _, ref := range l.Records {
			r, ok := bodies[ref.ID]
			if !ok || r.Source != ref.Source || !r.Time.Equal(ref.Time) {
				t.Fatalf("%s: record %s of the label is not in the day", l.Incident, ref.ID)
			}
			if o := of[ref.ID]; o != "" {
				t.Fatalf("record %s belongs to %s and to %s", ref.ID, o, l.Incident)
			}
			of[ref.ID] = l.Incident
			if ref.Time.Before(l.Start) || ref.Time.After(l.End) || ref.Time.Before(d.Start) {
				t.Fatalf("%s: record %s of %s lies outside of the label", l.Incident, ref.ID, ref.Time)
			}
		}
	}
	if len(pairs) < 12 {
		t.Errorf("%d incidents, want at least 12", len(pairs))
	}
	for name, kinds := range pairs {
		slices.SortFunc(kinds, func(a, b bool) int { return cmpBool(a, b) })
		if !slices.Equal(kinds, []bool{false, true}) {
			t.Errorf("%s: want one incident and one twin, got %v", name, kinds)
		}
	}
}

// TestTwinsDifferOnlyInWhatMakesThemBenign compares which kinds of records the
// two of a pair consist of, and how many.
func TestTwinsDifferOnlyInWhatMakesThemBenign(t *testing.T) {
	d := aSmallDay()
	kinds := map[string]string{}
	copies := map[string]int{}
	for r := range d.All() {
		kinds[r.ID] = kindOf(parse(t, r.Body))
		copies[r.ID]++
	}
	type shape struct {
		kinds []string
		n     int
	}
	shapes := map[string]map[bool]shape{}
	for _, l := range d.Labels {
		var s shape
		for _, ref := range l.Records {
			s.n += copies[ref.ID]
			if k := kinds[ref.ID]; !slices.Contains(s.kinds, k) {
				s.kinds = append(s.kinds, k)
			}
		}
		slices.Sort(s.kinds)
		if shapes[l.Incident] == nil {
			shapes[l.Incident] = map[bool]shape{}
		}
		shapes[l.Incident][l.Twin] = s
	}
	for name, s := range shapes {
		if diff := cmp.Diff(s[false].kinds, s[true].kinds); diff != "" {
			t.Errorf("%s: incident and twin consist of other kinds of records (-incident +twin):\n%s", name, diff)
		}
		if name == "actor-probing" {
			continue // many people's runs of one call each, instead of one run
		}
		if ratio := float64(s[true].n) / float64(s[false].n); ratio < 0.6 || ratio > 1.7 {
			t.Errorf("%s: the incident is of %d records, the twin of %d", name, s[false].n, s[true].n)
		}
	}
}

func TestDayCanEndAtAnyHour(t *testing.T) {
	for _, end := range []time.Time{
		time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC), // a Saturday evening of the tenant
		time.Date(2026, 3, 8, 20, 0, 0, 0, time.UTC),  // clocks went forward in the night
		time.Date(2026, 11, 1, 20, 0, 0, 0, time.UTC), // clocks went back in the night
		time.Date(2028, 2, 29, 11, 59, 59, 0, time.UTC),
	} {
		d := sample.Generate(sample.Options{Seed: 2, End: end, Agents: 12, Users: 60})
		for _, l := range d.Labels {
			if len(l.Records) == 0 {
				t.Errorf("day that ends at %s: %s (twin %v) has no records", end, l.Incident, l.Twin)
			}
		}
	}
	saturday := sample.Options{Seed: 2, End: time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC), Agents: 12, Users: 150}
	full := sample.Generate(saturday)
	saturday.Weekends = true
	week := sample.Generate(saturday)
	if week.Records > full.Records*4/5 {
		t.Errorf("a Saturday of rest has %d records, a working day %d", week.Records, full.Records)
	}
}

func TestWrite(t *testing.T) {
	d := sample.Generate(sample.Options{Seed: 1, End: thursday, Agents: 12, Users: 60})
	dir := filepath.Join(t.TempDir(), "day")
	if err := d.Write(dir); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, name := range []string{sample.AuditFile, sample.WorkflowRunFile} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(b, []byte{'\n'})
	}
	want := 0
	for range d.All() {
		want++
	}
	if lines != want {
		t.Errorf("the files hold %d records, want %d", lines, want)
	}
	b, err := os.ReadFile(filepath.Join(dir, sample.LabelsFile))
	if err != nil {
		t.Fatal(err)
	}
	var labels []sample.Label
	if err := json.Unmarshal(b, &labels); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.Labels, labels); diff != "" {
		t.Errorf("labels read back differ (-want +got):\n%s", diff)
	}
	if err := d.Write(filepath.Join(dir, sample.AuditFile)); err == nil {
		t.Error("writing into a file as folder gave no error")
	}
}

func BenchmarkGenerate(b *testing.B) {
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n += day(1).Records
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

func parse(t *testing.T, body []byte) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatalf("record is not JSON: %v\n%s", err, body)
	}
	return doc
}

// field returns the value of a key of an object, in any case.
func field(v any, key string) any {
	m, _ := v.(map[string]any)
	for k, v := range m {
		if strings.EqualFold(k, key) {
			return v
		}
	}
	return nil
}

// walk calls f with the lower-cased path and key of every member.
func walk(v any, path string, f func(path, key string)) {
	switch v := v.(type) {
	case map[string]any:
		for k, m := range v {
			k = strings.ToLower(k)
			f(path, k)
			walk(m, path+k+".", f)
		}
	case []any:
		for _, m := range v {
			walk(m, path, f)
		}
	}
}

// kindOf says what kind of record it is; the ways to start a run by hand count
// as one.
func kindOf(doc map[string]any) string {
	payload := field(doc, "jsonpayload")
	if typ, ok := field(payload, "type").(string); ok {
		return typ
	}
	endpoint := fmt.Sprint(field(payload, "endpoint"))
	if strings.HasSuffix(endpoint, "/runs") || strings.HasSuffix(endpoint, "/runs/wait") {
		return "/api/v1/runworkflow"
	}
	return endpoint
}

func cmpBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
