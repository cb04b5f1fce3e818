package detectors

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// mostRetold caps the updates that only say that somebody or something else
// was in it.
const mostRetold = 50

// stale is how old the newest evidence of a live alert may be at decision time.
const stale = 15 * time.Minute

// episode is an open alert: one per tenant, rule and entity, live and history
// apart.
type episode struct {
	key     episodeKey
	clock   *clock // of the source that opened it: only that source's events are counted
	quiet   int64
	touched int64 // watermark or evidence time, whichever is later, of the last evidence

	alert        schemas.Alert // as it stands now
	toldCount    int64         // as last told
	toldObserved float64
}

type episodeKey struct {
	tenant, rule, kind, id string
	backfill               bool
}

func (k episodeKey) hash() uint64 {
	h := hashString(hashString(hashString(hashString(0, k.tenant), k.rule), k.kind), k.id)
	if k.backfill {
		return ^h
	}
	return h
}

// decision is what the book has to know about the moment of a raise.
type decision struct {
	clock *clock
	ev    *schemas.Event // nil while time is advanced
	timed bool           // nothing came: the moment names the episode, not a record
	late  bool
	quiet time.Duration
}

// book folds what detectors raise into episodes and writes down each
// transition. What a detector raises is the whole alert as it sees it, with
// Count as the number of events that it adds (0 means 1). A raise with
// Transition update is told even if it is not notably worse, may lower the
// severity, and is dropped if no such alert is open.
type book struct {
	names  *Inventory
	clocks *clocks
	open   *table[episodeKey, *episode]
	told   []schemas.Alert // transitions of the running batch
	m      *Metrics
}

func newBook(maxKeys int, names *Inventory, cs *clocks, m *Metrics) *book {
	b := &book{names: names, clocks: cs, m: m}
	b.open = newTable(maxKeys, func(x *entry[episodeKey, *episode]) {
		m.Evicted.WithLabelValues("alerts").Inc()
		b.resolve(x.val, "Closed to make room: too many alerts are open.")
		b.forget(x.val)
	})
	return b
}

func (b *book) raise(d decision, a schemas.Alert) {
	if a.Transition != schemas.TransitionUpdate {
		a.Count = max(a.Count, 1)
	}
	k := episodeKey{d.clock.tenant, a.Rule, a.Entity.Kind, a.Entity.ID, d.clock.backfill}
	if x := b.open.use(k); x != nil {
		if d.ev == nil {
			d.clock = x.val.clock
		}
		if a.LastSeen.UnixNano() < saturatingAdd(x.val.touched, x.val.quiet) {
			b.again(x.val, d, a)
			return
		}
		// The clock is about to jump past the old episode's end.
		b.close(x.val)
	}
	if a.Transition == schemas.TransitionUpdate || a.Transition == transitionFold {
		return
	}
	b.first(k, d, a)
}

func (b *book) first(k episodeKey, d decision, a schemas.Alert) {
	k = episodeKey{clone(k.tenant), clone(k.rule), clone(k.kind), clone(k.id), k.backfill}
	ep := &episode{key: k, clock: d.clock, quiet: int64(d.quiet), toldCount: a.Count, toldObserved: a.Observed}
	first := firstID(d, &a)
	a.Tenant, a.Transition, a.Seq = k.tenant, schemas.TransitionOpen, 1
	a.ID = schemas.AlertID(k.tenant, k.rule, schemas.Entity{Kind: k.kind, ID: k.id}, first)
	a.Backfill, a.Late = k.backfill, d.late
	if a.FirstSeen.IsZero() {
		a.FirstSeen = a.LastSeen
	}
	a.Next = append([]string{"agentrail alerts show " + a.ID}, a.Next...)
	ep.alert = a
	ep.touched = max(a.LastSeen.UnixNano(), d.clock.watermark(b.clocks.now))
	b.open.add(k).val = ep
	b.watch(ep)
	b.tell(ep, schemas.TransitionOpen, true)
}

// firstID is the id of the episode's first event.
func firstID(d decision, a *schemas.Alert) (id schemas.ID) {
	if len(a.Evidence) > 0 && !d.timed {
		if raw, err := hex.DecodeString(a.Evidence[0].ID); err == nil && copy(id[:], raw) == len(id) {
			return id
		}
	}
	if d.ev != nil {
		return d.ev.ID
	}
	return schemas.ProducerID("agentrail/episode/"+a.Rule, uint64(a.LastSeen.UnixNano()), 0)
}

// watch puts the episode on its clock.
func (b *book) watch(ep *episode) {
	c := ep.clock
	c.open = append(c.open, ep)
	if due := saturatingAdd(ep.touched, ep.quiet); len(c.open) == 1 || due < c.due {
		c.due = due
	}
}

func (b *book) forget(ep *episode) {
	if i := slices.Index(ep.clock.open, ep); i >= 0 {
		ep.clock.open = slices.Delete(ep.clock.open, i, i+1)
	}
}

// again folds another raise into the open episode.
func (b *book) again(ep *episode, d decision, a schemas.Alert) {
	was := &ep.alert
	count := was.Count + a.Count
	forced := a.Transition == schemas.TransitionUpdate
	rose := severityRank(a.Severity) > severityRank(was.Severity)
	mark := ep.clock.watermark(b.clocks.now)
	if d.clock.source != ep.clock.source && !rose && !forced {
		// The same calls in another source's records: they keep the alert open.
		ep.touched = max(ep.touched, mark)
		return
	}
	if d.clock != ep.clock && rose { // that source sees it better: from here on its events are counted
		count = max(was.Count, a.Count)
		b.forget(ep)
		ep.clock = d.clock
		b.watch(ep)
	}
	worse := rose || forced
	if severityRank(was.Severity) > severityRank(schemas.SeverityInformational) {
		worse = worse || a.Observed > 0 && a.Observed >= 2*ep.toldObserved || count >= max(2*ep.toldCount, 10)
	}
	if a.Transition == schemas.TransitionOpen && was.Seq < mostRetold {
		worse = worse || a.Actor != was.Actor || a.Title != was.Title
	}
	if !rose && !forced {
		a.Severity = was.Severity
	}
	a.ID, a.Seq, a.Tenant, a.Backfill = was.ID, was.Seq, was.Tenant, was.Backfill
	a.Count, a.Late = count, was.Late || d.late
	a.Next = append([]string{"agentrail alerts show " + a.ID}, a.Next...)
	a.FirstSeen = earlier(was.FirstSeen, cmp.Or(a.FirstSeen, a.LastSeen))
	a.LastSeen = later(was.LastSeen, a.LastSeen)
	a.Evidence = joinEvidence(was.Evidence, a.Evidence)
	if len(a.Changes) == 0 {
		a.Changes = was.Changes
	}
	a.Transition = was.Transition
	ep.alert = a
	ep.touched = max(ep.touched, a.LastSeen.UnixNano())
	if d.ev != nil { // late evidence keeps the alert open for as long as any other
		ep.touched = max(ep.touched, mark)
	}
	if worse {
		b.tell(ep, schemas.TransitionUpdate, true)
	}
}

func joinEvidence(old, more []schemas.Evidence) []schemas.Evidence {
	if len(old) >= schemas.MaxEvidence {
		return old
	}
	out := slices.Clip(old)
	for _, e := range more {
		if len(out) < schemas.MaxEvidence && !slices.ContainsFunc(out, func(o schemas.Evidence) bool { return o.ID == e.ID }) {
			out = append(out, e)
		}
	}
	return out
}

// tell writes down a transition of the episode as it stands. decided says that
// evidence decided it, not quiet.
func (b *book) tell(ep *episode, t schemas.Transition, decided bool) {
	a := &ep.alert
	if t != schemas.TransitionOpen {
		a.Seq++
	}
	a.Transition = t
	a.DecidedAt = time.Unix(0, b.clocks.now).UTC()
	if decided {
		a.Stale = !a.Backfill && a.DecidedAt.Sub(a.LastSeen) > stale
	}
	b.name(a)
	ep.toldCount, ep.toldObserved = a.Count, max(a.Observed, ep.toldObserved)
	b.told = append(b.told, *a)
	b.m.Alerts.WithLabelValues(a.Rule, string(t)).Inc()
}

// name fills in names that are known by now.
func (b *book) name(a *schemas.Alert) {
	if a.Agent != "" {
		a.AgentName = cmp.Or(b.names.AgentName(a.Tenant, a.Agent), a.AgentName)
	}
	if a.Actor != "" {
		a.ActorEmail = cmp.Or(b.names.Email(a.Tenant, a.Actor), a.ActorEmail)
	}
	switch a.Entity.Kind {
	case "agent":
		a.Entity.Name = cmp.Or(b.names.AgentName(a.Tenant, a.Entity.ID), a.Entity.Name)
	case "actor":
		a.Entity.Name = cmp.Or(b.names.Email(a.Tenant, a.Entity.ID), a.Entity.Name)
	}
}

// advance resolves what has been quiet for long enough by its own clock.
func (b *book) advance() {
	for _, c := range b.clocks.list {
		if len(c.open) == 0 {
			continue
		}
		mark := c.watermark(b.clocks.now)
		if mark < c.due {
			continue
		}
		c.due = 1<<63 - 1
		kept := c.open[:0]
		for _, ep := range c.open {
			due := saturatingAdd(ep.touched, ep.quiet)
			if mark < due {
				c.due = min(c.due, due)
				kept = append(kept, ep)
				continue
			}
			b.resolve(ep, "")
			b.open.remove(b.open.peek(ep.key))
		}
		clear(c.open[len(kept):])
		c.open = kept
	}
	b.m.Open.Set(float64(b.open.len()))
}

// close resolves an episode and forgets it.
func (b *book) close(ep *episode) {
	b.resolve(ep, "")
	b.open.remove(b.open.peek(ep.key))
	b.forget(ep)
}

func (b *book) resolve(ep *episode, why string) {
	if why == "" {
		events := "1 event"
		if n := ep.alert.Count; n != 1 {
			events = fmt.Sprintf("%d events", n)
		}
		why = fmt.Sprintf("Quiet for %s after %s.", short(time.Duration(ep.quiet)), events)
	}
	ep.alert.Reason = why + " It was: " + ep.alert.Reason
	b.tell(ep, schemas.TransitionResolve, false)
}

func (b *book) save(e *Encoder) {
	saveTable(e, b.open, func(e *Encoder, x *entry[episodeKey, *episode]) {
		k := x.key
		e.Str(k.tenant)
		e.Str(k.rule)
		e.Str(k.kind)
		e.Str(k.id)
		e.Bool(k.backfill)
	})
	for _, c := range b.clocks.list {
		e.Uint(uint64(len(c.open)))
		e.Int(c.due)
		for _, ep := range c.open {
			e.JSON(ep.key.list())
			e.Int(ep.quiet)
			e.Int(ep.touched)
			e.Int(ep.toldCount)
			e.Float(ep.toldObserved)
			e.JSON(ep.alert)
		}
	}
}

func (k episodeKey) list() []string { return []string{k.tenant, k.rule, k.kind, k.id} }

// load reads what save wrote. The clocks are there already.
func (b *book) load(d *Decoder) {
	loadTable(d, b.open, func(d *Decoder) episodeKey {
		return episodeKey{d.Str(), d.Str(), d.Str(), d.Str(), d.Bool()}
	}, func(*Decoder, *entry[episodeKey, *episode]) {})
	for _, c := range b.clocks.list {
		n := d.Len()
		c.due = d.Int()
		for ; n > 0 && d.err == nil; n-- {
			b.loadEpisode(d, c)
		}
	}
	b.open.oldest(func(x *entry[episodeKey, *episode]) {
		if x.val == nil {
			d.fail()
		}
	})
}

func (b *book) loadEpisode(d *Decoder, c *clock) {
	var k []string
	d.JSON(&k)
	if len(k) != 4 {
		d.fail()
		return
	}
	ep := &episode{
		key: episodeKey{k[0], k[1], k[2], k[3], c.backfill}, clock: c,
		quiet: d.Int(), touched: d.Int(), toldCount: d.Int(), toldObserved: d.Float(),
	}
	d.JSON(&ep.alert)
	x := b.open.peek(ep.key)
	if d.err != nil || x == nil || x.val != nil {
		d.fail()
		return
	}
	x.val = ep
	c.open = append(c.open, ep)
}

var severities = []schemas.Severity{
	schemas.SeverityInformational, schemas.SeverityLow, schemas.SeverityMedium, schemas.SeverityHigh, schemas.SeverityCritical,
}

func severityRank(s schemas.Severity) int { return slices.Index(severities, s) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
