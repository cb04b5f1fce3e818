package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

func newTop(c *console) *cobra.Command {
	var once, batch bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the pipeline, open alerts and the busiest agents, as top(1) does",
		Long: "Watch stages with their rates, consumers with their lag, open alerts, the busiest agents, actors and tools, and what the\n" +
			"detectors have still to learn. Where the output is no terminal, one table after the other is printed.\n" +
			"Keys: q quits, p pauses, tab and arrows choose, enter on an alert ends and prints the command that shows it, ? helps.",
		Example: "  agentrail top\n  agentrail top --once",
		Args:    cobra.NoArgs,
	}
	cl := addClient(c, cmd)
	cmd.Flags().BoolVar(&once, "once", false, "print one table and end; it takes an interval, for the rates")
	cmd.Flags().BoolVar(&batch, "batch", false, "print one table after the other, also on a terminal")
	cmd.Flags().DurationVar(&every, "interval", 2*time.Second, "time between two looks")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if every < 100*time.Millisecond {
			return usagef("use --interval 1s or longer", "--interval is %s", every)
		}
		base, err := cl.base()
		if err != nil {
			return err
		}
		m := newTopModel(base.String())
		m.color = c.env("NO_COLOR") == "" && terminalWidth(c.out) > 0
		first, err := cl.look(cmd.Context())
		if err != nil {
			return err
		}
		m.take(first)
		if once || batch || !interactive(c) {
			return topTables(cmd.Context(), c, cl, m, every, once)
		}
		return topScreen(cmd.Context(), c, cl, m, every)
	}
	return cmd
}

// interactive reports whether a person sits at both ends.
func interactive(c *console) bool {
	in, ok := c.in.(*os.File)
	return ok && term.IsTerminal(int(in.Fd())) && terminalWidth(c.out) > 0
}

// topData is one look at the server. A part that this caller may not see, or
// that the server runs without, says why instead.
type topData struct {
	at       time.Time
	status   *api.Status
	noStatus string
	alerts   []schemas.Alert
	noAlerts string
	busy     api.BusiestList
	noBusy   string
	lost     string // the server could not be asked at all
}

// look asks for everything once. It fails if the server cannot be asked or does
// not let us in.
func (cl *client) look(ctx context.Context) (*topData, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d := &topData{at: cl.c.now()}
	var st api.Status
	var alerts api.AlertList
	for _, ask := range []struct {
		path string
		q    url.Values
		into any
		why  *string
	}{
		{"busiest", url.Values{"limit": {"20"}}, &d.busy, &d.noBusy},
		{"status", nil, &st, &d.noStatus},
		{"alerts", url.Values{"state": {"open"}, "limit": {"10"}}, &alerts, &d.noAlerts},
	} {
		err := cl.get(ctx, ask.path, ask.q, ask.into)
		a, ok := errors.AsType[*answered](err)
		switch {
		case err == nil:
		case ok && a.code == "not_operator":
			*ask.why = "shown to the tenant that runs the server only"
		case ok && a.status >= 500:
			*ask.why = a.text
		default:
			return nil, err
		}
	}
	d.alerts = alerts.Alerts
	if d.noStatus == "" {
		d.status = &st
	}
	return d, nil
}

// topTables prints tables until ctx ends, or one.
func topTables(ctx context.Context, c *console, cl *client, m *topModel, every time.Duration, once bool) error {
	signal.Ignore(syscall.SIGPIPE) // a closed pipe is an error of Write, not the end of the process
	for {
		if err := pause(ctx, every); err != nil {
			return nil
		}
		d, err := cl.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && once:
			return err
		case err != nil:
			d = &topData{at: c.now(), lost: err.Error()}
		}
		m.take(d)
		if _, err := io.WriteString(c.out, m.table(max(terminalWidth(c.out), 0))+"\n"); err != nil || once {
			return brokenPipe(err)
		}
	}
}

// topScreen runs full screen until the person ends it.
func topScreen(ctx context.Context, c *console, cl *client, m *topModel, every time.Duration) error {
	s := &screen{ctx: ctx, cl: cl, m: m, every: every}
	_, err := tea.NewProgram(s, tea.WithContext(ctx), tea.WithInput(c.in), tea.WithOutput(c.out), tea.WithAltScreen(), tea.WithoutSignalHandler()).Run()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("run full screen: %w", err)
	}
	if m.chosen != "" {
		fmt.Fprintln(c.out, "agentrail alerts show "+clean(m.chosen))
	}
	return nil
}

// screen carries bubbletea's messages to the model.
type screen struct {
	ctx   context.Context
	cl    *client
	m     *topModel
	every time.Duration
}

type lookMsg struct{}

// Init asks for the next look.
func (s *screen) Init() tea.Cmd { return s.wait() }

// Update tells the model.
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.m.width, s.m.height = msg.Width, msg.Height
	case tea.KeyMsg:
		if s.m.key(msg.String()) {
			return s, tea.Quit
		}
	case lookMsg:
		return s, s.ask()
	case *topData:
		s.m.take(msg)
		return s, s.wait()
	}
	return s, nil
}

// View draws the model.
func (s *screen) View() string { return s.m.view() }

func (s *screen) wait() tea.Cmd {
	return tea.Tick(s.every, func(time.Time) tea.Msg { return lookMsg{} })
}

func (s *screen) ask() tea.Cmd {
	return func() tea.Msg {
		d, err := s.cl.look(s.ctx)
		if err != nil {
			d = &topData{at: s.cl.c.now(), lost: err.Error()}
		}
		return d
	}
}

// brokenPipe turns the end of our reader into nil.
func brokenPipe(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}
