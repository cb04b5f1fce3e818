package state

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Who may subscribe to an agent.
const (
	AudienceModerators = "moderators" // those who moderate; so begins every agent
	AudienceCohort     = "cohort"     // they and the people of a list
	AudienceAll        = "all"
)

// Agent is what is known of an agent: what its file says now, and what a
// moderator published of it.
type Agent struct {
	Name    string
	File    string // that holds the spec
	Version string
	Digest  string // of the spec's text
	Spec    string // the text
	Owner   string
	SeenAt  time.Time

	Published       string // version; empty if it is not published
	PublishedDigest string
	PublishedSpec   string // the text that runs in background
	PublishedBy     string
	PublishedAt     time.Time

	Changes  string // that a moderator requests; empty if none
	Audience string
	Cohort   []string
}

// Unpublished reports whether the file says something that is not published.
func (a Agent) Unpublished() bool { return a.Digest != a.PublishedDigest }

// MaySubscribe reports whether a moderator lets the user subscribe.
func (a Agent) MaySubscribe(user string, moderates bool) bool {
	switch a.Audience {
	case AudienceAll:
		return true
	case AudienceCohort:
		return moderates || slices.Contains(a.Cohort, user)
	}
	return moderates
}

const agentColumns = "name, file, version, digest, spec, owner, seen_at, published, published_digest, published_spec, published_by, published_at, changes, audience, cohort"

func scanAgent(r scanner) (a Agent, err error) {
	var cohort string
	if err := r.Scan(&a.Name, &a.File, &a.Version, &a.Digest, &a.Spec, &a.Owner, stamp{&a.SeenAt}, &a.Published, &a.PublishedDigest, &a.PublishedSpec,
		&a.PublishedBy, stamp{&a.PublishedAt}, &a.Changes, &a.Audience, &cohort); err != nil {
		return a, err
	}
	return a, json.Unmarshal([]byte(cohort), &a.Cohort)
}

// PutAgent keeps what the file of an agent says: Name, File, Version, Digest, Spec
// and Owner. What is published does not change.
func (s *Store) PutAgent(ctx context.Context, a Agent, records ...Record) error {
	return s.changeAgent(ctx, a.Name, records, func(t *tx) error {
		_, err := t.exec(`INSERT INTO agents (name, file, version, digest, spec, owner, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET file = excluded.file, version = excluded.version, digest = excluded.digest, spec = excluded.spec, owner = excluded.owner, seen_at = excluded.seen_at`,
			a.Name, a.File, a.Version, a.Digest, a.Spec, a.Owner, nano(s.now()))
		if err != nil {
			return fmt.Errorf("keep agent %s: %w", a.Name, err)
		}
		return nil
	})
}

// Agent returns one.
func (s *Store) Agent(ctx context.Context, name string) (Agent, error) {
	a, err := s.agents.get(name, func() (Agent, error) {
		return one(s.read.QueryRowContext(ctx, "SELECT "+agentColumns+" FROM agents WHERE name = ?", name), scanAgent, "agent "+name)
	})
	a.Cohort = slices.Clone(a.Cohort)
	return a, err
}

// Changes counts the changes of agents and subscriptions: whoever keeps a list
// of them need not read it again while the number is the same.
func (s *Store) Changes() uint64 { return s.changes.Load() }

// changeAgent does a change of an agent.
func (s *Store) changeAgent(ctx context.Context, name string, records []Record, do func(*tx) error) error {
	return s.change(ctx, records, func(t *tx) error {
		t.after = append(t.after, func() {
			s.agents.forget(name)
			s.changes.Add(1)
		})
		return do(t)
	})
}

// Agents returns all, by name.
func (s *Store) Agents(ctx context.Context) ([]Agent, error) {
	return rows(ctx, s.read, scanAgent, "SELECT "+agentColumns+" FROM agents ORDER BY name")
}

// Publish publishes the text with the digest, which must be what the file says
// now: if it was changed since the moderator looked, the error is ErrConflict.
func (s *Store) Publish(ctx context.Context, name, digest, by string, records ...Record) error {
	return s.changeAgent(ctx, name, records, func(t *tx) error {
		var now string
		if err := t.row("SELECT digest FROM agents WHERE name = ?", name).Scan(&now); err != nil {
			_, err = one(failed{err}, scanAgent, "agent "+name)
			return err
		}
		if now != digest {
			return fmt.Errorf("publish %s: %w: its file was changed since (%s)", name, ErrConflict, now)
		}
		return t.must("agent "+name, `UPDATE agents SET published = version, published_digest = digest, published_spec = spec,
			published_by = ?, published_at = ?, changes = '' WHERE name = ?`, by, nano(s.now()), name)
	})
}

// RequestChanges keeps what a moderator wants changed before the next version is
// published. What is published stays so.
func (s *Store) RequestChanges(ctx context.Context, name, changes string, records ...Record) error {
	return s.changeAgent(ctx, name, records, func(t *tx) error {
		return t.must("agent "+name, "UPDATE agents SET changes = ? WHERE name = ?", changes, name)
	})
}

// Unpublish takes the published version back: its subscriptions stay, and run
// nothing until the agent is published again.
func (s *Store) Unpublish(ctx context.Context, name string, records ...Record) error {
	return s.changeAgent(ctx, name, records, func(t *tx) error {
		return t.must("agent "+name, `UPDATE agents SET published = '', published_digest = '', published_spec = '', published_by = '', published_at = 0 WHERE name = ?`, name)
	})
}

// LimitSubscribers says who may subscribe.
func (s *Store) LimitSubscribers(ctx context.Context, name, audience string, cohort []string, records ...Record) error {
	if !slices.Contains([]string{AudienceModerators, AudienceCohort, AudienceAll}, audience) {
		return fmt.Errorf("limit subscribers of %s: audience is %q; it is moderators, cohort or all", name, audience)
	}
	list, err := json.Marshal(slices.Compact(slices.Sorted(slices.Values(cohort))))
	if err != nil {
		return fmt.Errorf("limit subscribers of %s: %w", name, err)
	}
	return s.changeAgent(ctx, name, records, func(t *tx) error {
		return t.must("agent "+name, "UPDATE agents SET audience = ?, cohort = ? WHERE name = ?", audience, string(list), name)
	})
}

// failed is a row that could not be read.
type failed struct{ err error }

func (f failed) Scan(...any) error { return f.err }
