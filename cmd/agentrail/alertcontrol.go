package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// alertVerb is one thing that people do with alerts.
type alertVerb struct {
	name, short string
	verb        string
	done        string // what the receipt says
}

var alertVerbs = []alertVerb{
	{"ack", "Acknowledge alerts: you work on them, nobody is told of them again unless they get graver", schemas.AlertAck, "acknowledged"},
	{"assign", "Say who works on alerts", schemas.AlertAssign, "assigned"},
	{"close", "Close alerts; what goes on opens them again", schemas.AlertClose, "closed"},
	{"reopen", "Open alerts again that were closed, resolved or acknowledged", schemas.AlertReopen, "reopened"},
	{"silence", "Tell nobody of alerts for a while", schemas.AlertSilence, "silenced"},
	{"unsilence", "End a silence before its time", schemas.AlertUnsilence, "no longer silenced"},
	{"note", "Add a note to the history of alerts", schemas.AlertNote, "noted"},
}

func newAlertControl(c *console, v alertVerb) *cobra.Command {
	var reason, assignee string
	var silence time.Duration
	var dry bool
	cmd := &cobra.Command{
		Use: v.name + " ID...", Short: v.short, Args: cobra.MinimumNArgs(1),
		Long: v.short + ". What you say is on record with your name; the beginning of an id is enough. Needs the role analyst or admin.",
	}
	cl := addClient(c, cmd)
	cmd.ValidArgsFunction = cl.completeAlerts
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept with the request (mandatory)")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be asked for")
	switch v.verb {
	case schemas.AlertAssign:
		cmd.Flags().StringVar(&assignee, "to", "", "who (mandatory)")
	case schemas.AlertSilence:
		cmd.Flags().DurationVar(&silence, "for", 2*time.Hour, "how long, at most 720h")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if strings.TrimSpace(reason) == "" {
			return usagef("add --reason \"why\"", "alerts %s needs a reason", v.name)
		}
		req := api.ControlRequest{Verb: v.verb, Reason: reason}
		switch v.verb {
		case schemas.AlertAssign:
			if strings.TrimSpace(assignee) == "" {
				return usagef("add --to NAME", "alerts assign needs somebody")
			}
			req.Args = map[string]string{"assignee": assignee}
		case schemas.AlertSilence:
			if silence <= 0 {
				return usagef("write --for 2h", "--for %s is no time", silence)
			}
			req.TTL = silence.String()
		}
		for _, id := range args {
			if dry {
				fmt.Fprintf(c.out, "would %s %s\n", v.name, clean(id))
				continue
			}
			var receipt api.ControlReceipt
			req.Target = id
			if err := cl.post(cmd.Context(), "control", req, &receipt); err != nil {
				return fmt.Errorf("%s %s: %w", v.name, id, err)
			}
			fmt.Fprintf(c.out, "%s %s (on record at offset %d)\n", clean(receipt.Control.Target), v.done, receipt.Offset)
		}
		return nil
	}
	return cmd
}

// life is where the alert stands; zero if the server did not say.
func life(a schemas.Alert) schemas.Life {
	if a.Life == nil {
		return schemas.Life{}
	}
	return *a.Life
}

// lifeWords says where the alert stands, since when, by whom and why.
func lifeWords(a schemas.Alert) string {
	l := life(a)
	if l.State == "" {
		return ""
	}
	text := string(l.State) + " since " + human(l.Since)
	if l.By != "" {
		text += " by " + l.By + ": " + l.Reason
	}
	if !l.Until.IsZero() {
		text += ", until " + human(l.Until)
	}
	if l.Assignee != "" {
		text += ", assigned to " + l.Assignee
	}
	if l.Reopened > 0 {
		text += fmt.Sprintf(", opened again %d times", l.Reopened)
	}
	return text
}

func historyLine(s schemas.LifeStep) string {
	what := strings.TrimPrefix(s.What, "alert.")
	text := fmt.Sprintf("%s  %-9s -> %-12s", human(s.At), what, s.State)
	switch {
	case s.By != "" && s.Target != "":
		text += fmt.Sprintf(" %s, to %s: %s", s.By, s.Target, s.Text)
	case s.By != "":
		text += fmt.Sprintf(" %s: %s", s.By, s.Text)
	default:
		text += fmt.Sprintf(" %d events", s.Count)
		if s.Late {
			text += ", late"
		}
	}
	return text
}
