package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

func newDoctor(c *console) *cobra.Command {
	var format, config string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wired wrong, what is not understood and what to do about it",
		Long: "Ask a running server what arrives, what it does not understand and where it stands, one finding a line:\n" +
			"OK, NOTE (worth knowing), WARN (somebody should look) or FAIL (does not work), each with what to do next.\n" +
			"Lines for your mapping that make unknown kinds, endpoints and fields known are printed at the end, to be pasted.\n" +
			"With --config it looks at a config and at this machine instead, before the server runs. It changes nothing.\n" +
			"Exit code 0 if there is no WARN and no FAIL, 1 otherwise.",
		Example: "  agentrail doctor\n  agentrail doctor --config /etc/agentrail/agentrail.yaml\n  agentrail doctor --output json",
		Args:    cobra.NoArgs,
	}
	cl := addClient(c, cmd)
	cmd.Flags().StringVar(&config, "config", "", "look at this config and this machine, not at a server")
	cmd.Flags().StringVarP(&format, "output", "o", "table", "format: table or json")
	closedSet(cmd, "output", "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if format != "table" && format != "json" {
			return usagef("use --output table or json", "unknown output format %q", format)
		}
		var r checkup
		if config != "" {
			r.Findings = examineMachine(cmd.Context(), config)
		} else {
			r = examineServer(cmd.Context(), cl)
		}
		if err := r.print(c, format); err != nil {
			return err
		}
		if n := r.bad(); n > 0 {
			return &findings{n}
		}
		return nil
	}
	return cmd
}

// Levels of a finding.
const (
	levelOK   = "OK"
	levelNote = "NOTE"
	levelWarn = "WARN"
	levelFail = "FAIL"
)

// finding is one thing that doctor has to say.
type finding struct {
	Level string `json:"level"`
	About string `json:"about"` // server, token, source NAME, sink NAME, ...
	Text  string `json:"text"`
	Next  string `json:"next,omitempty"` // what to do
}

// checkup is what doctor found.
type checkup struct {
	Findings []finding    `json:"findings"`
	Mappings []suggestion `json:"mappings"` // lines to paste
}

func (r *checkup) bad() (n int) {
	for _, f := range r.Findings {
		if f.Level == levelWarn || f.Level == levelFail {
			n++
		}
	}
	return n
}

func (r *checkup) print(c *console, format string) error {
	if format == "json" {
		r.Findings = append([]finding{}, r.Findings...)
		r.Mappings = append([]suggestion{}, r.Mappings...)
		return printJSON(c.out, r)
	}
	color := terminalWidth(c.out) > 0 && c.env("NO_COLOR") == ""
	widest := 0
	for _, f := range r.Findings {
		widest = max(widest, len(f.About))
	}
	widest = min(widest, 24)
	var b strings.Builder
	count := map[string]int{}
	for _, f := range r.Findings {
		count[f.Level]++
		fmt.Fprintf(&b, "%s  %-*s  %s\n", paint(color, levelColor(f.Level), fmt.Sprintf("%-4s", f.Level)), widest, visible(f.About), visible(f.Text))
		if f.Next != "" {
			fmt.Fprintf(&b, "      -> %s\n", visible(f.Next))
		}
	}
	for _, s := range r.Mappings {
		fmt.Fprintf(&b, "\nLines for the mapping %[1]s: add them to your copy of it (agentrail mapping show %[1]s > %[1]s.yaml), list the copy under\n"+
			"mappings: and run agentrail validate. Actions are guessed from names; read them before you paste.\n\n%[2]s", visible(s.Mapping), s.YAML)
	}
	fmt.Fprintf(&b, "\n%d ok, %d notes, %d warnings, %d failures\n", count[levelOK], count[levelNote], count[levelWarn], count[levelFail])
	_, err := io.WriteString(c.out, b.String())
	return err
}

func levelColor(level string) int {
	return map[string]int{levelOK: colorGreen, levelWarn: colorYellow, levelFail: colorStrong}[level]
}

// examineServer asks the server and judges what it answers.
func examineServer(ctx context.Context, cl *client) (r checkup) {
	var d api.Doctor
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := cl.get(ctx, "doctor", nil, &d); err != nil {
		return checkup{Findings: []finding{unreachable(err)}}
	}
	base, _ := cl.base()
	r.Findings = append(r.Findings, examineReach(base.String(), cl.tokenPlace(), &d)...)
	for i := range d.Sources {
		r.Findings = append(r.Findings, examineSource(&d.Sources[i], d.Now, base.String())...)
	}
	r.Mappings = suggest(d.Sources)

	var st api.Status
	err := cl.get(ctx, "status", nil, &st)
	if a, ok := errors.AsType[*answered](err); ok && a.status == http.StatusForbidden {
		r.add(levelNote, "pipeline", "sinks, store, journal and detectors are shown to the tenant that runs the server only", "ask them to run agentrail doctor")
		return r
	} else if err != nil {
		r.Findings = append(r.Findings, unreachable(err))
		return r
	}
	r.Findings = append(r.Findings, examinePipeline(&st, d.Now)...)
	var list api.CursorList
	if err := cl.get(ctx, "cursors", nil, &list); err == nil {
		r.Findings = append(r.Findings, examineCursors(list.Cursors)...)
	}
	return r
}

func (r *checkup) add(level, about, text, next string) {
	r.Findings = append(r.Findings, finding{level, about, text, next})
}

// unreachable is the finding for an answer that did not come.
func unreachable(err error) finding {
	f := finding{Level: levelFail, About: "server", Text: err.Error()}
	if h, ok := errors.AsType[*hinted](err); ok {
		f.Next = h.hint
	}
	return f
}

// examineReach tells of the server and of who asks it.
func examineReach(server, token string, d *api.Doctor) []finding {
	out := []finding{{levelOK, "server", fmt.Sprintf("%s answers, version %s, up for %s", server, d.Version, ago(d.Now.Sub(d.Started))), ""}}
	if d.Version != version {
		out = append(out, finding{levelNote, "version", fmt.Sprintf("this program is version %s, the server %s", version, d.Version), "use the same on both sides; the API tells apart what it does not know"})
	}
	out = append(out, finding{levelOK, "token", fmt.Sprintf("%s is principal %s of tenant %s: %s", token, d.Caller.Name, d.Caller.Tenant, strings.Join(d.Caller.Roles, ", ")), ""})
	if d.Ready {
		return append(out, finding{levelOK, "ready", "the server is ready", ""})
	}
	for _, why := range d.NotReady {
		out = append(out, finding{levelFail, "ready", "not ready: " + why, "see the server's log; intake goes on as long as the journal takes records"})
	}
	return out
}

// examineCursors tells of cursors that nobody moves.
func examineCursors(list []api.Cursor) (out []finding) {
	for _, c := range list {
		if c.Abandoned {
			out = append(out, finding{
				levelWarn, "cursor " + c.Name, fmt.Sprintf("no consumer of that name is in the config; it is %d %s behind and holds retention for 7 days", c.Lag, plural(int(c.Lag), "batch", "batches")),
				"bring the consumer back, or: agentrail log cursors rm " + c.Name + " --reason WHY",
			})
		}
	}
	slices.SortFunc(out, func(a, b finding) int { return strings.Compare(a.About, b.About) })
	return out
}

// ago writes a length of time for people: two units at most.
func ago(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return "less than 1 s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
