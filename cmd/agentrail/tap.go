package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

func newTap(c *console) *cobra.Command {
	var format, since, from string
	var limit int
	var raw, noColor bool
	cmd := &cobra.Command{
		Use:   "tap",
		Short: "Watch events as they come, one line each",
		Long: "Watch events as they come, one line each, until Ctrl-C.\n" +
			"What is shown are the normalised fields, never prompts, arguments or responses; --raw adds the records as received.\n" +
			"A lost connection is taken up again where it broke; losses and holes are named on standard error.",
		Example: "  agentrail tap --outcome denied\n" +
			"  agentrail tap --since 15m --action 'subscription.*'\n" +
			"  agentrail tap --from start --class alert --output json | jq .reason",
		Args: cobra.NoArgs,
	}
	cl := addClient(c, cmd)
	f := addFilter(cmd, "actor", "agent", "action", "tool", "outcome", "class", "kind", "subscription", "run")
	cmd.Flags().StringVar(&since, "since", "", "begin with what was received from that time on: RFC 3339, or how long ago (15m, 2h, 7d)")
	cmd.Flags().StringVar(&from, "from", "", "begin at: now, start, or the offset of a batch (default now)")
	cmd.Flags().IntVar(&limit, "limit", 0, "end after so many events; 0 means never")
	cmd.Flags().BoolVar(&raw, "raw", false, "show the record as received beneath each event, if the token may read it")
	cmd.Flags().BoolVar(&noColor, "no-color", false, "no colours on a terminal (env NO_COLOR)")
	cmd.Flags().StringVarP(&format, "output", "o", "table", "format: table or json (one event a line)")
	closedSet(cmd, "output", "table", "json")
	closedSet(cmd, "from", "now", "start")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if format != "table" && format != "json" {
			return usagef("use --output table or json", "unknown output format %q", format)
		}
		if limit < 0 {
			return usagef("use --limit 1 or more, or leave it out", "--limit is %d", limit)
		}
		q, err := f.query(c.now(), 1, 1)
		if err != nil {
			return err
		}
		q.Del("limit")
		if err := tapStart(q, since, from, c.now()); err != nil {
			return err
		}
		if !raw {
			q.Set("content", "no")
		}
		t := &tap{c: c, cl: cl, q: q, limit: limit, raw: raw, json: format == "json", sleep: pause}
		t.line.color = !noColor && c.env("NO_COLOR") == "" && terminalWidth(c.out) > 0
		return t.run(cmd.Context())
	}
	return cmd
}

// tapStart sets where the stream begins.
func tapStart(q url.Values, since, from string, now time.Time) error {
	if since != "" && from != "" {
		return usagef("give one of them", "both --since and --from are given")
	}
	if since != "" {
		t, err := api.ParseTime(since, now)
		if err != nil {
			return usagef("write 2026-11-23T08:00:00Z, or how long ago: 15m, 2h, 7d", "--since is %q, which is no time", since)
		}
		q.Set("since", t.Format(time.RFC3339Nano))
	}
	if from != "" {
		if _, err := strconv.ParseUint(from, 10, 63); err != nil && from != "now" && from != "start" {
			return usagef("write now, start or an offset", "--from is %q", from)
		}
		q.Set("from", from)
	}
	return nil
}

// tap prints the stream and takes it up again after every loss.
type tap struct {
	c     *console
	cl    *client
	q     url.Values
	limit int
	raw   bool
	json  bool
	line  tapLine
	sleep func(ctx context.Context, d time.Duration) error

	last    string // id of the last message with one
	seen    tapPlace
	printed int
	lost    int // connections
	missing uint64
}

// tapPlace is an event's place in the journal.
type tapPlace struct {
	some   bool
	offset uint64
	index  uint32
}

// errEnough ends a tap that has printed its limit.
var errEnough = errors.New("limit reached")

// run prints until ctx ends, the limit is reached, the reader of our output is
// gone, or the server says that asking again is no use.
func (t *tap) run(ctx context.Context) error {
	signal.Ignore(syscall.SIGPIPE) // a closed pipe is an error of Write, not the end of the process
	began := t.c.now()
	err := t.follow(ctx)
	switch {
	case errors.Is(err, errEnough), ctx.Err() != nil:
		err = nil
	case err != nil && brokenPipe(err) == nil:
		return nil // as head(1) ends: nobody is left to tell
	}
	summary := fmt.Sprintf("%d %s in %s", t.printed, plural(t.printed, "event", "events"), t.c.now().Sub(began).Round(time.Second))
	if t.lost > 0 {
		summary += fmt.Sprintf("; the connection was lost %d %s", t.lost, plural(t.lost, "time", "times"))
	}
	if t.missing > 0 {
		summary += fmt.Sprintf("; %d %s could not be had", t.missing, plural(int(t.missing), "batch", "batches"))
	}
	fmt.Fprintln(t.c.err, summary)
	return err
}

// follow reads one connection after the other. The first must come about; later
// ones are tried for ever.
func (t *tap) follow(ctx context.Context) error {
	body, err := t.connect(ctx)
	if err != nil {
		return err
	}
	for {
		err := t.read(body)
		body.Close()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if broken, ok := errors.AsType[*connectionError](err); ok {
			err = broken.err
		} else {
			return err
		}
		t.lost++
		fmt.Fprintf(t.c.err, "connection lost%s: %s; trying again\n", t.after(), clean(err.Error()))
		if body, err = t.reconnect(ctx); err != nil {
			return err
		}
		fmt.Fprintf(t.c.err, "connected again; going on%s\n", t.after())
	}
}

func (t *tap) after() string {
	if t.last == "" {
		return ""
	}
	return " after offset " + t.last
}

func (t *tap) connect(ctx context.Context) (io.ReadCloser, error) {
	req, err := t.cl.request(ctx, "GET", "stream", t.q, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if t.last != "" {
		req.Header.Set("Last-Event-ID", t.last)
	}
	return t.cl.send(req)
}

// reconnect tries until it works or the server refuses for good.
func (t *tap) reconnect(ctx context.Context) (io.ReadCloser, error) {
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		if err := t.sleep(ctx, wait); err != nil {
			return nil, err
		}
		body, err := t.connect(ctx)
		if err == nil || ctx.Err() != nil {
			return body, err
		}
		if a, ok := errors.AsType[*answered](err); ok && a.status < 500 && a.status != 429 {
			return nil, err
		}
		if _, ok := errors.AsType[*usageError](err); ok {
			return nil, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// terse joins what is not empty.
func terse(sep string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), sep)
}
