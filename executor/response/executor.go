package response

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// own is the name of the target that is the executor itself.
const own = "executor"

// Stop cancels what is in flight of the runs that match and returns how many
// these were.
type Stop func(match func(state.Run) bool, reason string) int

// Own is the executor as target of its own responses. What is in flight is
// cancelled once the pause holds.
func Own(s *state.Store, stop Stop) *Opened {
	e := &executor{store: s, stop: stop}
	return &Opened{Target: e, Image: e.image, ConfirmWithin: ownConfirm}
}

// ownConfirm is how long the executor may take to confirm what it did itself.
const ownConfirm = 5 * time.Second

type executor struct {
	store *state.Store
	stop  Stop
}

// Do carries the order out and cancels what it reaches.
func (e *executor) Do(ctx context.Context, o Order) error {
	covered := state.Pause{Kind: kindOf(o.Action), Target: o.Target}
	var err error
	switch o.Action {
	case RemoveSubscription:
		if err = e.store.DeleteSubscription(ctx, o.Target, e.record(o, trail.DeleteSubscription, "")); errors.Is(err, state.ErrNotFound) {
			err = fmt.Errorf("%w: there is no subscription %s", ErrRefused, o.Target)
		}
	case UnshareAgent:
		err = e.store.LimitSubscribers(ctx, o.Target, state.AudienceModerators, nil, e.record(o, trail.LimitSubscribers, ""))
	default:
		covered.Reason, covered.Author, covered.Response, covered.Until = o.Reason, o.Author, o.ID, o.Until
		err = e.store.Pause(ctx, covered, e.record(o, pauseVerbs[covered.Kind][0], ""))
	}
	if errors.Is(err, ErrRefused) || o.Action == RemoveSubscription && err != nil {
		return err
	}
	// A pause holds in memory even if it could not be kept.
	e.stop(covered.Covers, "response "+o.ID+": "+o.Reason)
	return err
}

// Undo takes back what the order did, and nothing that others did.
func (e *executor) Undo(ctx context.Context, o Order) (err error) {
	switch o.Action {
	case RemoveSubscription:
		err = e.store.RestoreSubscription(ctx, o.Target, e.record(o, trail.EditSubscription, "_undo"))
	case UnshareAgent:
		var was audience
		if err := json.Unmarshal(o.Image, &was); err != nil {
			return fmt.Errorf("read who could subscribe before: %w", err)
		}
		return e.store.LimitSubscribers(ctx, o.Target, was.Audience, was.Cohort, e.record(o, trail.LimitSubscribers, "_undo"))
	default:
		kind := kindOf(o.Action)
		_, err = e.store.Resume(ctx, kind, o.Target, o.ID, e.record(o, pauseVerbs[kind][1], "_undo"))
	}
	if errors.Is(err, state.ErrNotFound) { // it is so already
		return nil
	}
	return err
}

// State says whether the order is in force, by itself: what others paused as
// well counts for them.
func (e *executor) State(ctx context.Context, o Order) (State, error) {
	switch o.Action {
	case RemoveSubscription:
		s, err := e.store.Subscription(ctx, o.Target)
		return inForce(s.Deleted), err
	case UnshareAgent:
		a, err := e.store.Agent(ctx, o.Target)
		return inForce(a.Audience == state.AudienceModerators), err
	}
	pauses, err := e.store.Pauses(ctx)
	if err != nil {
		return Unknown, err
	}
	for _, p := range pauses {
		if p.Response == o.ID && p.Kind == kindOf(o.Action) {
			return InForce, nil
		}
	}
	return Active, nil
}

func inForce(yes bool) State {
	if yes {
		return InForce
	}
	return Active
}

// audience is who could subscribe before an agent was unshared.
type audience struct {
	Audience string   `json:"audience"`
	Cohort   []string `json:"cohort,omitempty"`
}

func (e *executor) image(ctx context.Context, o Order) (json.RawMessage, error) {
	if o.Action != UnshareAgent {
		return nil, nil
	}
	a, err := e.store.Agent(ctx, o.Target)
	if err != nil {
		return nil, err
	}
	return json.Marshal(audience{a.Audience, a.Cohort})
}

// pauseVerbs are the verbs of records, by kind: of the pause and of its end.
var pauseVerbs = map[string][2]trail.Verb{
	state.PauseSubscription: {trail.PauseSubscription, trail.ResumeSubscription},
	state.PauseAgent:        {trail.PauseAgent, trail.ResumeAgent},
	state.PauseActor:        {trail.PauseActor, trail.ResumeActor},
	state.PauseTenant:       {trail.PauseTenant, trail.ResumeTenant},
}

// record is the executor's own record of the change, as of any other; it is
// kept in the transaction of the change.
func (e *executor) record(o Order, verb trail.Verb, suffix string) state.Record {
	w := trail.Who{Program: program, Log: auditLog, User: responder, UserType: "SERVICE", Initiator: trail.InitiatorAPI}
	a := trail.Act{Verb: verb, ID: o.ID + "_executor" + suffix, At: e.store.Now(), Reason: o.Author + ": " + o.Reason, Response: o.ID, Until: o.Until}
	switch kindOf(o.Action) {
	case state.PauseSubscription:
		w.Subscription = o.Target
	case state.PauseAgent:
		w.Agent = o.Target
	default:
		a.Target = o.Target
	}
	w.Run = o.ID
	return state.Record(w.Act(a))
}

// Resolver answers queries from the executor's own subscriptions.
func Resolver(s *state.Store) func(context.Context, Query) ([]Subscription, error) {
	return func(ctx context.Context, q Query) ([]Subscription, error) {
		if q.ID != "" {
			one, err := s.Subscription(ctx, q.ID)
			if errors.Is(err, state.ErrNotFound) || one.Deleted {
				return nil, nil
			}
			return []Subscription{plain(one)}, err
		}
		all, err := s.Subscriptions(ctx, state.SubscriptionFilter{Agent: q.Agent, Subscriber: q.Subscriber})
		var out []Subscription
		for _, one := range all {
			out = append(out, plain(one))
		}
		return out, err
	}
}

func plain(s state.Subscription) Subscription {
	return Subscription{ID: s.ID, Agent: s.Agent, Subscriber: s.Subscriber, Name: s.Name}
}
