package response

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
)

// Target carries actions out on one platform. All methods may be called
// concurrently, and any of them again for the same order after a crash: doing
// something twice must be the same as doing it once.
type Target interface {
	// Do carries the order out. Nil says that the platform took it, not that it
	// is so.
	Do(ctx context.Context, o Order) error
	// Undo takes the order back.
	Undo(ctx context.Context, o Order) error
	// State returns what the platform itself says.
	State(ctx context.Context, o Order) (State, error)
}

// Order is what a Target is told.
type Order struct {
	ID     string          `json:"id"` // of the response; the same whenever it is told again
	Tenant string          `json:"tenant"`
	Action string          `json:"action"`
	Target string          `json:"target"` // id of the subscription, agent, actor or tenant
	Reason string          `json:"reason"`
	Author string          `json:"author"`
	Until  time.Time       `json:"until,omitzero"`
	Alert  string          `json:"alert,omitempty"`
	Image  json.RawMessage `json:"image,omitempty"` // what Image returned
}

// State is what a platform says about the target of an order.
type State string

// States.
const (
	InForce State = "in_force" // as the action wants it: paused, removed, unshared
	Active  State = "active"   // as if nothing had been done
	Unknown State = "unknown"  // the platform cannot say; the audit stream may
)

// ErrRefused says that the platform will not do it, however often it is asked.
// It counts as failed at once, with an alarm, and is tried again seldom.
var ErrRefused = errors.New("refused")

// Opened is a Target with what the responder must know to deal with it.
type Opened struct {
	Target
	// Can reports whether there is a call for the action; nil: for each.
	Can func(action string) bool
	// Image returns, before anything is done, what Undo will need to put things
	// back; nil: it needs nothing.
	Image func(ctx context.Context, o Order) (json.RawMessage, error)
	// Blind reports whether State may be Unknown, so that the audit stream has to
	// confirm.
	Blind bool
	// Task returns who is to do it and where, if a person is to; nil: none is.
	Task func(o Order) (assignee, link string)
	// Otherwise names the target that takes what this one has no call for.
	Otherwise string
	// ConfirmWithin is how long a confirmation may take before it is a failure.
	ConfirmWithin time.Duration
	// Interval is how far apart runs of a subscription are if nothing else says so.
	Interval time.Duration
}

func (t *Opened) can(action string) bool { return t.Can == nil || t.Can(action) }

// Common are the settings that every target has beside its own.
type Common struct {
	// Otherwise names the target that takes the actions that this one has no call for, such as one of kind task.
	Otherwise string `yaml:"otherwise"`
	// ConfirmWithin is how long a confirmation may take before the action counts as failed. Default: 30s.
	ConfirmWithin plug.Duration `yaml:"confirm_within"`
	// Timeout of one call. Default: 10s.
	Timeout plug.Duration `yaml:"timeout"`
	// Interval is how far apart the runs of a subscription are where nothing else tells: two of them without a run
	// confirm a pause that the platform says nothing about. Default: 24h.
	Interval plug.Duration `yaml:"interval"`
}

func defaultCommon() Common {
	return Common{
		ConfirmWithin: plug.Duration(30 * time.Second), Timeout: plug.Duration(10 * time.Second), Interval: plug.Duration(24 * time.Hour),
	}
}

func (c Common) check() error {
	if c.ConfirmWithin <= 0 || c.Timeout <= 0 || c.Interval <= 0 {
		return errors.New("confirm_within, timeout and interval must be positive")
	}
	return nil
}

func (c Common) opened(t Target, can func(string) bool) *Opened {
	return &Opened{
		Target: t, Can: can, Otherwise: c.Otherwise, ConfirmWithin: time.Duration(c.ConfirmWithin), Interval: time.Duration(c.Interval),
	}
}

// Deps is what the program gives to every target.
type Deps struct {
	Log  *slog.Logger // Mandatory.
	HTTP *http.Client // nil: one that follows no redirect and reaches no link-local address
}

// OpenFunc opens one kind of target from its fields in the config.
type OpenFunc = func(c plug.Config, d Deps) (*Opened, error)

var registry = plug.Registry[OpenFunc]{Family: "target"}

// Register adds a kind of target; for init functions.
func Register(kind string, open OpenFunc) { registry.Register(kind, open) }

// Kinds returns the kinds that OpenTargets knows, sorted.
func Kinds() []string { return registry.Kinds() }

// OpenTargets opens the targets of a config and returns them by name. It calls
// none of them.
func OpenTargets(c *Config, d Deps) (map[string]*Opened, error) {
	if d.HTTP == nil {
		d.HTTP = newClient()
	}
	out := map[string]*Opened{}
	var faults []error
	for _, tc := range c.Targets {
		open, err := registry.Lookup(tc)
		if err == nil {
			var t *Opened
			if t, err = open(tc, Deps{Log: d.Log.With("target", tc.Name), HTTP: d.HTTP}); err == nil {
				out[tc.Name] = t
			}
		}
		faults = append(faults, err)
	}
	for _, tc := range c.Targets {
		if t := out[tc.Name]; t != nil && t.Otherwise != "" && (out[t.Otherwise] == nil || t.Otherwise == tc.Name) {
			faults = append(faults, tc.Errorf("otherwise names %q, which is no other target", t.Otherwise))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("open response targets: %w", err)
	}
	return out, nil
}
