package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/sinks"
)

// replayFlags are what a replay is asked for with.
type replayFlags struct {
	sink, from, to, filter, reason string
	rate                           int
	yes, stop, dry                 bool
}

func newReplay(c *console) *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay --sink NAME --from WHEN --to WHEN --reason WHY",
		Short: "Send a range of the journal to one sink again",
		Long: "Ask the server to send a range of the journal to one sink again, with the ids that the events have: receivers that know ids keep one copy.\n" +
			"The range is [from, to), by offset or by time of receipt. What passes the sink's own filter, and --filter, is sent, at most --rate events a second.\n" +
			"The request is a control in the journal and so is the end (kind health, action sink.replay); a server that restarts goes on where it was. agentrail ledger counts what was replayed.\n" +
			"Where the receiver would misdate events of that age you are asked first.",
		Example: "  agentrail replay --sink soc --from 2026-11-23T08:00:00Z --to 2026-11-23T10:00:00Z --reason \"index was dropped\"\n" +
			"  agentrail replay --sink soc --stop --reason \"wrong range\"",
		Args: cobra.NoArgs,
	}
	cl := addClient(c, cmd)
	cmd.Flags().StringVar(&f.sink, "sink", "", "name of the sink (mandatory)")
	cmd.Flags().StringVar(&f.from, "from", "", "first offset, or from that time of receipt on: RFC 3339, or how long ago (15m, 2h, 7d)")
	cmd.Flags().StringVar(&f.to, "to", "", "offset behind the last, or before that time of receipt")
	cmd.Flags().StringVar(&f.filter, "filter", "", "CEL expression that events must pass, beside the sink's own filter")
	cmd.Flags().IntVar(&f.rate, "rate", 1000, "events a second at most")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why; kept with the request (mandatory)")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "send also what the receiver would misdate")
	cmd.Flags().BoolVar(&f.stop, "stop", false, "end the replays of the sink instead")
	cmd.Flags().BoolVar(&f.dry, "dry-run", false, "only say what would be asked for")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		req, err := f.request(c.now())
		if err != nil {
			return err
		}
		if f.dry {
			_, err := fmt.Fprintf(c.out, "would ask for %s of %s %v\n", req.Verb, clean(req.Target), req.Args)
			return err
		}
		receipt, err := askReplay(cmd.Context(), c, cl, req)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.out, "%s of %s asked for (control %s, offset %d); how it went: agentrail events --action %s\n",
			req.Verb, clean(req.Target), receipt.Control.ID, receipt.Offset, sinks.VerbReplay)
		return err
	}
	return cmd
}

// request checks the flags and returns what is to be asked for.
func (f *replayFlags) request(now time.Time) (api.ControlRequest, error) {
	req := api.ControlRequest{Verb: sinks.VerbReplay, Target: f.sink, Reason: f.reason}
	switch {
	case f.sink == "":
		return req, usagef("add --sink NAME; agentrail ledger shows the sinks", "replay needs a sink")
	case f.reason == "":
		return req, usagef("add --reason \"why\"", "replay needs a reason")
	case f.stop:
		req.Verb = sinks.VerbReplayStop
		return req, nil
	case f.from == "" || f.to == "":
		return req, usagef("add --from and --to, such as --from 2h --to 1h or --from 1200 --to 1300", "replay needs a range")
	}
	req.Args = map[string]string{"rate": strconv.Itoa(f.rate)}
	for name, value := range map[string]string{"from": f.from, "to": f.to} {
		if _, err := strconv.ParseUint(value, 10, 64); err != nil {
			at, err := api.ParseTime(value, now)
			if err != nil {
				return req, usagef("write an offset, 2026-11-23T08:00:00Z, or how long ago: 15m, 2h, 7d", "--%s is %q, which is neither", name, value)
			}
			value = at.Format(time.RFC3339Nano)
		}
		req.Args[name] = value
	}
	if f.filter != "" {
		if _, err := sinks.CompileFilter(f.filter); err != nil {
			return req, usagef("the fields are those of agentrail events --output json", "%w", err)
		}
		req.Args["filter"] = f.filter
	}
	if f.yes {
		req.Args[misdated] = "yes"
	}
	return req, nil
}

// askReplay posts the control. Where the server asks for consent a person at a
// terminal is asked.
func askReplay(ctx context.Context, c *console, cl *client, req api.ControlRequest) (api.ControlReceipt, error) {
	var receipt api.ControlReceipt
	err := cl.post(ctx, "control", req, &receipt)
	said, ok := errors.AsType[*answered](err)
	if !ok || said.code != "needs_consent" {
		return receipt, err
	}
	fmt.Fprintf(c.err, "%s\nsend it all the same? [y/N] ", clean(said.Error()))
	line, _ := bufio.NewReader(c.in).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(line)); a != "y" && a != "yes" {
		fmt.Fprintln(c.err)
		return receipt, hintf("add --yes, or narrow the range", "nothing was asked for")
	}
	req.Args[misdated] = "yes"
	return receipt, cl.post(ctx, "control", req, &receipt)
}
