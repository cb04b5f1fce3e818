package alerting

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"

	"github.com/prometheus/common/route"

	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/alertmanager/silence/silencepb"

	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/problem"
)

// Prefix of the paths of Alertmanager's API: what amtool wants to be told.
const Prefix = "/alertmanager"

// Roles that may read, and silence.
var (
	readers   = []auth.Role{auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin, auth.RoleAuditor}
	silencers = []auth.Role{auth.RoleAnalyst, auth.RoleAdmin}
)

// maxSilenceBody caps a silence as sent, bytes.
const maxSilenceBody = 64 << 10

// RecordFunc puts on record what a person did.
type RecordFunc func(ctx context.Context, by *auth.Principal, verb, target, reason string, args map[string]string) error

// fence lets callers use Alertmanager's API v2 for their own tenant: lists are
// narrowed to it and silences hold for it alone, whatever the request says.
type fence struct {
	r        *Router
	operator string
	record   RecordFunc
}

// Routes returns the handlers of Alertmanager's API by the patterns of net/http.
// require is the middleware, operator the tenant that may see the config; record
// is called for each change before it is answered.
func (r *Router) Routes(require func(next http.Handler, roles ...auth.Role) http.Handler, operator string, record RecordFunc) map[string]http.Handler {
	f := &fence{r, operator, record}
	const v2 = Prefix + "/api/v2"
	out := map[string]http.Handler{}
	for pattern, h := range map[string]http.HandlerFunc{
		"GET " + v2 + "/alerts": f.list, "GET " + v2 + "/alerts/groups": f.list, "GET " + v2 + "/silences": f.list,
		"GET " + v2 + "/silence/{id}": f.silence,
		"GET " + v2 + "/status":       f.whole, "GET " + v2 + "/receivers": f.whole,
	} {
		out[pattern] = require(h, readers...)
	}
	out["POST "+v2+"/silences"] = require(http.HandlerFunc(f.post), silencers...)
	out["DELETE "+v2+"/silence/{id}"] = require(http.HandlerFunc(f.expire), silencers...)
	out[Prefix+"/"] = require(http.HandlerFunc(f.none), readers...)
	return out
}

func (f *fence) none(w http.ResponseWriter, _ *http.Request) {
	refuse(w, http.StatusNotFound, "there is no such path here: alerts are raised by detectors only, and the pages are at /alerts")
}

func refuse(w http.ResponseWriter, status int, detail string) {
	problem.Write(w, problem.Details{Status: status, Title: http.StatusText(status), Code: "alerting", Detail: detail})
}

// caller is who asks. The middleware has seen to it that there is one.
func caller(r *http.Request) *auth.Principal {
	p, ok := auth.FromContext(r.Context())
	if !ok {
		panic("BUG: Alertmanager's API without middleware")
	}
	return p
}

// list narrows a list to the caller's tenant.
func (f *fence) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	q.Add("filter", fmt.Sprintf("%s=%q", labelTenant, caller(r).Tenant))
	r.URL.RawQuery = q.Encode()
	f.r.handler.ServeHTTP(w, r)
}

// whole answers what concerns all tenants: the config and its receivers.
func (f *fence) whole(w http.ResponseWriter, r *http.Request) {
	if f.operator != "" && caller(r).Tenant != f.operator {
		refuse(w, http.StatusForbidden, "this concerns the pipeline of all tenants; use a token of the tenant that runs the server")
		return
	}
	f.r.handler.ServeHTTP(w, r)
}

func (f *fence) silence(w http.ResponseWriter, r *http.Request) {
	if f.owned(w, r, r.PathValue("id")) != nil {
		f.r.handler.ServeHTTP(w, r)
	}
}

// owned returns the silence if it is the caller's tenant's, or answers 404.
func (f *fence) owned(w http.ResponseWriter, r *http.Request, id string) *silencepb.Silence {
	s, err := f.r.silences.QueryOne(r.Context(), silence.QIDs(id))
	if err == nil && len(s.MatcherSets) > 0 {
		for _, set := range s.MatcherSets {
			own := false
			for _, m := range set.Matchers {
				own = own || m.Name == labelTenant && m.Type == silencepb.Matcher_EQUAL && m.Pattern == caller(r).Tenant
			}
			if !own {
				s = nil
				break
			}
		}
		if s != nil {
			return s
		}
	}
	refuse(w, http.StatusNotFound, "there is no such silence in this tenant")
	return nil
}

// posted is a silence as it is sent. Fields that are unknown are refused: a
// silence that means more than is seen here could reach another tenant.
type posted struct {
	ID          string            `json:"id,omitempty"`
	Matchers    []matcher         `json:"matchers"`
	StartsAt    string            `json:"startsAt"`
	EndsAt      string            `json:"endsAt"`
	CreatedBy   string            `json:"createdBy"`
	Comment     string            `json:"comment"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type matcher struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	IsRegex bool   `json:"isRegex"`
	IsEqual *bool  `json:"isEqual,omitempty"`
}

func (m matcher) String() string {
	op := map[[2]bool]string{{false, true}: "=", {false, false}: "!=", {true, true}: "=~", {true, false}: "!~"}[[2]bool{m.IsRegex, m.IsEqual == nil || *m.IsEqual}]
	return fmt.Sprintf("%s%s%q", m.Name, op, m.Value)
}

// post makes or changes a silence of the caller's tenant in the caller's name.
func (f *fence) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSilenceBody))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("a silence has at most %d bytes", maxSilenceBody))
		return
	}
	var s posted
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		refuse(w, http.StatusBadRequest, "silence cannot be read: "+err.Error())
		return
	}
	p := caller(r)
	if s.ID != "" && f.owned(w, r, s.ID) == nil {
		return
	}
	if strings.TrimSpace(s.Comment) == "" {
		refuse(w, http.StatusBadRequest, "comment is empty; say why, it is kept with the silence")
		return
	}
	own := matcher{Name: labelTenant, Value: p.Tenant}
	kept := []matcher{own}
	var words []string
	for _, m := range s.Matchers {
		if m.Name == labelTenant {
			if m.String() != own.String() {
				refuse(w, http.StatusForbidden, "a silence is for the tenant of its token: leave "+labelTenant+" out")
				return
			}
			continue
		}
		kept = append(kept, m)
		words = append(words, m.String())
	}
	if len(kept) == 1 {
		refuse(w, http.StatusBadRequest, "name what to silence: a silence of everything would hide the alarm itself")
		return
	}
	s.Matchers, s.CreatedBy = kept, p.Name
	doc, err := json.Marshal(s)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(doc)), int64(len(doc))
	f.change(w, r, "alerting.silence", s.Comment, map[string]string{"matchers": strings.Join(words, ", "), "until": s.EndsAt})
}

func (f *fence) expire(w http.ResponseWriter, r *http.Request) {
	if s := f.owned(w, r, r.PathValue("id")); s != nil {
		f.change(w, r, "alerting.unsilence", "silence ended", map[string]string{"silence": s.Id})
	}
}

// change carries a change out, makes it durable, puts it on record, and only
// then answers.
func (f *fence) change(w http.ResponseWriter, r *http.Request, verb, reason string, args map[string]string) {
	a := &answer{header: http.Header{}, status: http.StatusOK}
	f.r.handler.ServeHTTP(a, r)
	if a.status/100 == 2 {
		target := r.PathValue("id")
		var made struct {
			ID string `json:"silenceID"`
		}
		if json.Unmarshal(a.body.Bytes(), &made) == nil && made.ID != "" {
			target = made.ID
		}
		err := f.r.Save()
		if err == nil && f.record != nil {
			err = f.record(r.Context(), caller(r), verb, target, reason, args)
		}
		if err != nil {
			f.r.log.Error("silence is in effect but not on record", "silence", target, "err", err)
			refuse(w, http.StatusServiceUnavailable, "the silence is in effect but could not be put on record; send it again: "+err.Error())
			return
		}
	}
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // the caller is gone; nothing is left to say
}

// answer keeps an answer until it may be given.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// newNowhere is the router of Alertmanager's own pages: there are none here.
func newNowhere() *route.Router { return route.New() }

func snapshot(write func(io.Writer) (int64, error)) func(io.Writer) error {
	return func(w io.Writer) error { _, err := write(w); return err }
}
