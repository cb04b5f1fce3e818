package state

import (
	"context"
	"fmt"
	"time"
)

// Subscription lets an agent run on behalf of its subscriber when nobody is
// present.
type Subscription struct {
	ID         string
	Agent      string
	Subscriber string
	Name       string
	Trigger    []byte // JSON that overrides the agent's schedule; nil if it does not
	Created    time.Time
	Edited     time.Time
	LastRun    time.Time
	NextRun    time.Time
	Deleted    bool
}

// SubscriptionFilter picks subscriptions. The zero value picks all that are live.
type SubscriptionFilter struct {
	Agent, Subscriber string
	Deleted           bool // those that were deleted, too
}

const subscriptionColumns = "id, agent, subscriber, name, trigger, created, edited, last_run, next_run, deleted"

func scanSubscription(r scanner) (s Subscription, err error) {
	return s, r.Scan(&s.ID, &s.Agent, &s.Subscriber, &s.Name, &s.Trigger, stamp{&s.Created}, stamp{&s.Edited}, stamp{&s.LastRun}, stamp{&s.NextRun}, &s.Deleted)
}

// CreateSubscription keeps a new subscription. Its id is that of sub or, without
// one, a new one.
func (s *Store) CreateSubscription(ctx context.Context, sub Subscription, records ...Record) (Subscription, error) {
	if sub.ID == "" {
		sub.ID = NewID("sub_")
	}
	sub.Created = s.now().UTC()
	err := s.changeSubscription(ctx, sub.ID, records, func(t *tx) error {
		_, err := t.exec("INSERT INTO subscriptions (id, agent, subscriber, name, trigger, created, next_run) VALUES (?, ?, ?, ?, ?, ?, ?)",
			sub.ID, sub.Agent, sub.Subscriber, sub.Name, sub.Trigger, nano(sub.Created), nano(sub.NextRun))
		if isDuplicate(err) {
			return fmt.Errorf("subscription %s: %w", sub.ID, ErrConflict)
		}
		return err
	})
	if err != nil {
		return sub, fmt.Errorf("create subscription: %w", err)
	}
	return sub, nil
}

// EditSubscription changes Name and Trigger. The next run is planned anew.
func (s *Store) EditSubscription(ctx context.Context, sub Subscription, records ...Record) error {
	return s.changeSubscription(ctx, sub.ID, records, func(t *tx) error {
		return t.must("subscription "+sub.ID, "UPDATE subscriptions SET name = ?, trigger = ?, edited = ?, next_run = 0 WHERE id = ? AND deleted = 0",
			sub.Name, sub.Trigger, nano(s.now()), sub.ID)
	})
}

// DeleteSubscription ends a subscription; its runs stay in the history.
func (s *Store) DeleteSubscription(ctx context.Context, id string, records ...Record) error {
	return s.changeSubscription(ctx, id, records, func(t *tx) error {
		return t.must("subscription "+id, "UPDATE subscriptions SET deleted = 1, next_run = 0, edited = ? WHERE id = ? AND deleted = 0", nano(s.now()), id)
	})
}

// Plan keeps when a subscription ran last and runs next. A zero last leaves it.
func (s *Store) Plan(ctx context.Context, id string, last, next time.Time) error {
	return s.changeSubscription(ctx, id, nil, func(t *tx) error {
		return t.must("subscription "+id, "UPDATE subscriptions SET last_run = max(last_run, ?), next_run = ? WHERE id = ? AND deleted = 0", nano(last), nano(next), id)
	})
}

// Subscription returns one, also if it was deleted.
func (s *Store) Subscription(ctx context.Context, id string) (Subscription, error) {
	return s.subscriptions.get(id, func() (Subscription, error) {
		return one(s.read.QueryRowContext(ctx, "SELECT "+subscriptionColumns+" FROM subscriptions WHERE id = ?", id), scanSubscription, "subscription "+id)
	})
}

// changeSubscription does a change of a subscription.
func (s *Store) changeSubscription(ctx context.Context, id string, records []Record, do func(*tx) error) error {
	return s.change(ctx, records, func(t *tx) error {
		t.after = append(t.after, func() {
			s.subscriptions.forget(id)
			s.changes.Add(1)
		})
		return do(t)
	})
}

// Subscriptions returns those that the filter picks, oldest first.
func (s *Store) Subscriptions(ctx context.Context, f SubscriptionFilter) ([]Subscription, error) {
	return rows(ctx, s.read, scanSubscription, "SELECT "+subscriptionColumns+` FROM subscriptions
		WHERE (?1 = '' OR agent = ?1) AND (?2 = '' OR subscriber = ?2) AND (?3 OR deleted = 0) ORDER BY created, id`, f.Agent, f.Subscriber, f.Deleted)
}
