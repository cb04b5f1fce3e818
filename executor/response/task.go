package response

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
)

func init() { Register("task", openTask) }

// taskConfig makes a task for a person of what a platform has no call for. It is
// confirmed by the audit stream: by the record of the change, or, of a pause,
// by two intervals without a run.
type taskConfig struct {
	Common Common `yaml:",inline"`
	// Assignee is who is to do it.
	Assignee string `yaml:"assignee"`
	// Link is the page where it is done; {target} stands for the id.
	Link string `yaml:"link"`
	// Deadline by which it must be confirmed. Default: 4h.
	Deadline plug.Duration `yaml:"deadline"`
}

type task struct{ conf taskConfig }

func openTask(c plug.Config, _ Deps) (*Opened, error) {
	t := &task{taskConfig{Common: defaultCommon(), Deadline: plug.Duration(4 * time.Hour)}}
	if err := c.Decode(&t.conf); err != nil {
		return nil, err
	}
	var err error
	switch u, fault := url.Parse(t.conf.Link); {
	case t.conf.Assignee == "":
		err = errors.New("assignee: is missing; a task that is nobody's is not done")
	case t.conf.Link != "" && (fault != nil || u.Scheme != "https" && u.Scheme != "http"):
		err = errors.New("link: write an address that begins with https")
	case t.conf.Deadline <= 0:
		err = errors.New("deadline: must be positive")
	}
	if err := errors.Join(t.conf.Common.check(), err); err != nil {
		return nil, c.Errorf("%v", err)
	}
	t.conf.Common.ConfirmWithin = t.conf.Deadline
	o := t.conf.Common.opened(t, nil)
	o.Blind = true
	o.Task = func(o Order) (string, string) { return t.conf.Assignee, fill(t.conf.Link, o, url.PathEscape) }
	return o, nil
}

// Do has nothing to do: the responder puts the task on record and tells people.
func (*task) Do(context.Context, Order) error { return nil }

// Undo likewise.
func (*task) Undo(context.Context, Order) error { return nil }

// State cannot say: the audit stream has to.
func (*task) State(context.Context, Order) (State, error) { return Unknown, nil }
