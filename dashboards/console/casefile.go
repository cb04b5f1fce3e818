package console

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/schemas"
)

// CaseFile is one file of an exported case.
type CaseFile struct {
	Path string
	Body []byte
}

// Bounds of a case.
const (
	maxCaseRuns   = 20
	maxCaseRelay  = 500     // records of its time line
	maxCaseRecord = 8 << 20 // bytes of one record
)

// caseFiles collects an alert with all that belongs to it: its records as
// received, its runs joined, its traces, and what was done about it.
type caseFiles struct {
	c      *Console
	tenant string
	page   alertPage
	files  []CaseFile
	lacks  []string // for people
}

// exportCase answers with one alert and all that belongs to it as a zip file,
// signed so that it can be verified offline. The export is itself an event,
// which is on record before the first byte leaves.
func (c *Console) exportCase(w http.ResponseWriter, r *http.Request) {
	user, _ := auth.FromContext(r.Context())
	f := &frame{User: user, Version: c.o.Version, Nav: "alerts", Path: "/"}
	if c.o.Seal == nil {
		c.say(w, f, http.StatusNotImplemented, "Not possible here", "This server has no key to sign a case with.", "")
		return
	}
	v, err := c.alert(r, f)
	if to, ok := errors.AsType[*redirect](err); ok { // the beginning of an id
		r.SetPathValue("id", strings.TrimPrefix(to.url, "/alerts/"))
		v, err = c.alert(r, f)
	}
	if err != nil {
		c.failCase(w, r, f, err)
		return
	}
	page, _ := v.data.(alertPage)
	if err := c.o.Exported(r.Context(), user, schemas.CaseExport, page.Alert.ID); err != nil {
		c.failCase(w, r, f, err)
		return
	}
	body, err := c.caseOf(r.Context(), user, page)
	if err != nil {
		c.failCase(w, r, f, err)
		return
	}
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("Content-Disposition", `attachment; filename="case-`+page.Alert.ID+`.zip"`)
	_, _ = w.Write(body) // the visitor is gone; nothing is left to say
}

// failCase answers programs as the API does, and people with a page.
func (c *Console) failCase(w http.ResponseWriter, r *http.Request, f *frame, err error) {
	switch {
	case !strings.HasPrefix(r.URL.Path, api.Prefix):
		c.fail(w, r, f, err)
	case errors.Is(err, api.ErrNotFound):
		problem.Write(w, problem.Details{Status: http.StatusNotFound, Title: "Not found", Code: "not_found", Detail: "there is no such alert in this tenant"})
	case errors.Is(err, api.ErrAmbiguous):
		problem.Write(w, problem.Details{Status: http.StatusBadRequest, Title: "Bad parameter", Code: "bad_parameter", Detail: err.Error() + "; write more of it"})
	default:
		c.log.Error("export case", "err", err)
		problem.Write(w, problem.Details{Status: http.StatusServiceUnavailable, Title: "Temporarily unavailable", Code: "unavailable", Detail: "the case cannot be read now; see the server's log and GET /readyz"})
	}
}

func (c *Console) caseOf(ctx context.Context, user *auth.Principal, page alertPage) ([]byte, error) {
	x := &caseFiles{c: c, tenant: user.Tenant, page: page}
	for _, step := range []func(context.Context) error{x.alert, x.records, x.runs, x.timeline} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	now := c.o.Now().UTC()
	x.files = append(x.files, CaseFile{"CHECK.txt", []byte(x.check(user.Name, now))})
	sealed, err := c.o.Seal(ctx, []string{"alert " + page.Alert.ID, "tenant " + user.Tenant, "exported " + now.Format(time.RFC3339Nano)}, x.files)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range append(x.files, sealed...) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: f.Path, Method: zip.Deflate, Modified: now})
		if err == nil {
			_, err = w.Write(f.Body)
		}
		if err != nil {
			return nil, fmt.Errorf("write case: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("write case: %w", err)
	}
	return out.Bytes(), nil
}

// add puts a document into the case.
func (x *caseFiles) add(path string, doc any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	x.files = append(x.files, CaseFile{path, b.Bytes()})
	return nil
}

func (x *caseFiles) lack(format string, args ...any) {
	x.lacks = append(x.lacks, fmt.Sprintf(format, args...))
}

func (x *caseFiles) alert(context.Context) error {
	return x.add("alert.json", map[string]any{
		"alert": x.page.Alert, "state": x.page.Life, "transitions": x.page.Transitions, "history": x.page.History,
	})
}

// records writes each record of the evidence as it was received, and one list of
// what each is and where it lies in the journal.
func (x *caseFiles) records(ctx context.Context) error {
	type line struct {
		File   string    `json:"file,omitempty"`
		SHA256 string    `json:"sha256"`
		Event  api.Event `json:"event"`
	}
	list := []line{}
	for i, rec := range x.page.Records {
		e, err := x.c.find(ctx, x.tenant, rec.Event.ID, placeText(rec.Event))
		if errors.Is(err, api.ErrNotFound) {
			x.lack("record %s is neither in the journal nor in the store any more", rec.Event.ID)
			continue
		}
		if err != nil {
			return err
		}
		l := line{SHA256: e.Digest}
		switch {
		case e.Raw == nil:
			x.lack("record %s is stored encrypted or without its bytes: its digest stands for it", e.ID)
		case len(*e.Raw) > maxCaseRecord:
			x.lack("record %s has %d bytes and is left out; its digest stands for it", e.ID, len(*e.Raw))
		default:
			l.File = fmt.Sprintf("records/%04d-%s.txt", i+1, e.ID)
			x.files = append(x.files, CaseFile{l.File, []byte(*e.Raw)})
		}
		e.Raw = nil
		l.Event = e
		list = append(list, l)
	}
	if n := x.page.Missing; n > 0 {
		x.lack("%d records of the evidence are not kept any more", n)
	}
	return x.add("records.json", list)
}

// runs writes the runs of the evidence, each joined with its calls, verdicts
// and trace.
func (x *caseFiles) runs(ctx context.Context) error {
	var ids []string
	seen := map[string]bool{"": true}
	for _, id := range append([]string{x.page.Alert.Run}, runsOf(x.page.Records)...) {
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	if len(ids) > maxCaseRuns {
		x.lack("%d runs belong to the alert; the first %d are here", len(ids), maxCaseRuns)
		ids = ids[:maxCaseRuns]
	}
	for i, id := range ids {
		p := runPage{ID: id, Joined: &api.Joined{ID: id, Calls: []api.Event{}}}
		if v, err := x.c.o.Executor.run(ctx, x.tenant, id); err == nil {
			p.Running, p.Trace = &v, v.Trace
		}
		if err := x.c.join(ctx, x.tenant, &p); err != nil {
			return err
		}
		if err := x.add(fmt.Sprintf("runs/%04d.json", i+1), map[string]any{"run": p.Joined, "executor": p.Running}); err != nil {
			return err
		}
	}
	return nil
}

func runsOf(records []record) (out []string) {
	for _, r := range records {
		out = append(out, r.Event.Run)
	}
	return out
}

// timeline writes what was asked for and done about it.
func (x *caseFiles) timeline(ctx context.Context) error {
	a, views := x.page.Alert, []response.View{}
	for _, r := range x.page.Responses {
		v, err := x.c.o.Executor.response(ctx, x.tenant, r.ID)
		if err != nil {
			x.lack("the timeline of response %s cannot be read now: %v", r.ID, err)
			v = r
		}
		views = append(views, v)
	}
	if err := x.add("responses.json", views); err != nil {
		return err
	}
	controls, err := x.c.newest(ctx, api.Query{Tenant: x.tenant, Class: "control", Kind: "control", Limit: maxControls})
	if err != nil {
		return err
	}
	about := map[string]bool{a.ID: true, a.Subscription: a.Subscription != "", a.Agent: a.Agent != "", a.Actor: a.Actor != "", a.ActorEmail: a.ActorEmail != ""}
	lines := []api.Event{}
	for _, e := range controls {
		if about[e.Target] {
			lines = append(lines, e)
		}
	}
	if a.Subscription != "" {
		done, err := x.c.newest(ctx, api.Query{Tenant: x.tenant, Subscription: a.Subscription, Action: "subscription.*", Limit: maxCaseRelay})
		if err != nil {
			return err
		}
		lines = append(lines, done...)
	}
	return x.add("timeline.json", lines)
}

// check is the text that says what lies here and how to verify it.
func (x *caseFiles) check(who string, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Case of alert %s, exported by %s at %s by Agentrail %s.\n\n", x.page.Alert.ID, visible(who), now.Format(time.RFC3339), x.c.o.Version)
	b.WriteString(`alert.json      the alert: what detectors said, what people did
records.json    the records of its evidence: fields, place in the journal, SHA-256
records/        the same as they were received, byte by byte
runs/           its runs, joined: record, calls with verdicts, trace
responses.json  what answered it, with the platform's confirmation
timeline.json   controls and records about what was stopped and let go on
head.note       the newest signed head of the journal at the time of the export
manifest.note   SHA-256 of every file here, signed with the same key

To verify that nothing was changed, offline, with the public key that you kept
elsewhere (head.key.pub; do not take it from whoever gave you this case):

  agentrail verify --case case-` + x.page.Alert.ID + `.zip --key head.key.pub

The folder with the extracted files does as well: --case FOLDER. To hold the
records against the journal itself, give the head to a verification of it:

  agentrail verify --data DATA --key head.key.pub --head head.note
`)
	if len(x.lacks) > 0 {
		b.WriteString("\nNot here:\n")
		for _, l := range x.lacks {
			b.WriteString("  " + visible(l) + "\n")
		}
	}
	return b.String()
}
