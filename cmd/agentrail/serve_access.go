package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// Bounds of what goes on record about access: the journal is for the agents.
const (
	sameRead     = 5 * time.Minute // the same content shown to the same person again is no news
	maxReads     = 50_000          // remembered for that
	accessBurst  = 300             // single events of one person, or of all failed logins
	accessRefill = time.Second     // for one more; what is past it is counted and told each minute
	maxIDs       = 32              // ids in one event
)

// accessLog puts on record who logged in and out and who could not, who was
// shown content, and whose roles changed: controls in the journal by the verbs
// of package auth, with author and address. Safe for concurrent use.
type accessLog struct {
	document func(ctx context.Context, tenant string, class schemas.Class, kind string, doc any) error
	operator string // owns the logins of nobody that is known
	log      *slog.Logger

	mu     sync.Mutex
	reads  map[string]time.Time // when they went on record
	quotas map[string]*quota    // by verb, tenant and author; failed logins have one
}

// quota is what may be told one by one.
type quota struct {
	left float64
	at   time.Time
	over int             // told by their number only
	last schemas.Control // one of them
}

func newAccessLog(own owner, operator string, log *slog.Logger) *accessLog {
	return &accessLog{document: own.document, operator: operator, log: log, reads: map[string]time.Time{}, quotas: map[string]*quota{}}
}

// login records what became of a login. If that cannot be, the login holds: who
// repairs the journal must get in.
func (l *accessLog) login(ctx context.Context, a auth.Access) {
	c := schemas.Control{Tenant: l.operator, Author: "unknown", Verb: a.Verb, Target: "login", Reason: cmp.Or(a.Why, a.Verb), Args: map[string]string{"address": a.Address, "how": a.How}}
	if a.Who != nil {
		c.Tenant, c.Author, c.Target = a.Who.Tenant, a.Who.Name, a.Who.Name
		if a.Verb == auth.VerbLogin {
			c.Args["roles"] = joinRoles(a.Who.Roles)
		}
		if a.Ended > 1 {
			c.Args["sessions"] = strconv.Itoa(a.Ended)
		}
	}
	key := strings.Join([]string{a.Verb, c.Tenant, c.Author}, "\x00")
	if a.Verb == auth.VerbLoginFailed {
		key = a.Verb
	}
	if err := l.put(context.WithoutCancel(ctx), key, c); err != nil {
		l.log.Error("login is not on record", "verb", a.Verb, "addr", a.Address, "err", err)
	}
}

// read records that the caller is shown the content of these. On an error it
// must not be shown.
func (l *accessLog) read(r *http.Request, ids ...string) error {
	p, ok := auth.FromContext(r.Context())
	if !ok {
		return fmt.Errorf("record a read of content: nobody is known to read it")
	}
	count := strconv.Itoa(len(ids))
	slices.Sort(ids)
	args := map[string]string{"address": auth.Address(r), "count": count, "ids": strings.Join(ids[:min(len(ids), maxIDs)], " ")}
	key := strings.Join([]string{p.Tenant, p.Name, args["address"], r.URL.Path, strings.Join(ids, " ")}, "\x00")
	if l.known(key) {
		return nil
	}
	err := l.put(r.Context(), strings.Join([]string{auth.VerbContentRead, p.Tenant, p.Name}, "\x00"), schemas.Control{
		Tenant: p.Tenant, Author: p.Name, Verb: auth.VerbContentRead, Target: r.URL.Path[:min(len(r.URL.Path), 256)], Reason: "content shown", Args: args,
	})
	if err != nil {
		l.forget(key)
	}
	return err
}

func joinRoles(roles []auth.Role) string {
	var out []string
	for _, r := range roles {
		out = append(out, string(r))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// known reports whether the read went on record a short while ago, and notes it.
func (l *accessLog) known(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if at, ok := l.reads[key]; ok && now.Sub(at) < sameRead {
		return true
	}
	if len(l.reads) >= maxReads {
		maps.DeleteFunc(l.reads, func(_ string, at time.Time) bool { return now.Sub(at) >= sameRead })
		if len(l.reads) >= maxReads {
			clear(l.reads) // at worst some are told twice
		}
	}
	l.reads[key] = now
	return false
}

func (l *accessLog) forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.reads, key)
}

// put appends the control, or counts it where the quota is used up.
func (l *accessLog) put(ctx context.Context, key string, c schemas.Control) error {
	l.mu.Lock()
	now := time.Now()
	q := l.quotas[key]
	if q == nil {
		q = &quota{left: accessBurst, at: now}
		l.quotas[key] = q
	}
	q.left = min(accessBurst, q.left+now.Sub(q.at).Seconds()/accessRefill.Seconds())
	q.at = now
	if q.left < 1 {
		q.over++
		q.last = c
		l.mu.Unlock()
		return nil
	}
	q.left--
	l.mu.Unlock()
	return l.append(ctx, c)
}

func (l *accessLog) append(ctx context.Context, c schemas.Control) error {
	var id schemas.ID
	_, _ = rand.Read(id[:]) // never fails
	c.ID, c.At = id.String(), time.Now().UTC()
	return l.document(ctx, c.Tenant, schemas.ClassControl, "control", c)
}

// run tells each minute, and at the end, how many were not told one by one.
func (l *accessLog) run(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.flush(ctx)
		case <-ctx.Done():
			l.flush(context.WithoutCancel(ctx))
			return nil
		}
	}
}

func (l *accessLog) flush(ctx context.Context) {
	l.mu.Lock()
	var sums []schemas.Control
	for key, q := range l.quotas {
		if q.over > 0 {
			c := q.last
			c.Reason, c.Args = "more than are told one by one; this is the last", maps.Clone(c.Args)
			c.Args["more"] = strconv.Itoa(q.over)
			sums = append(sums, c)
			q.over = 0
		} else if time.Since(q.at) > accessBurst*accessRefill {
			delete(l.quotas, key)
		}
	}
	l.mu.Unlock()
	for _, c := range sums {
		if err := l.append(ctx, c); err != nil {
			l.log.Error("accesses are not on record", "verb", c.Verb, "author", c.Author, "count", c.Args["more"], "err", err)
		}
	}
}
