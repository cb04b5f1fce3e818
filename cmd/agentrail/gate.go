package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/gateway"
	"github.com/agentrail/agentrail/executor/trail"
)

// gateFlags are what the verb gate is told.
type gateFlags struct {
	policy, user, agent, record, state string
	background, approve                bool
}

func newGate(c *console) *cobra.Command {
	var f gateFlags
	cmd := &cobra.Command{
		Use:   "gate [flags] -- COMMAND [ARGUMENTS...]",
		Short: "Put gates and an audit trail in front of an MCP server",
		Long: "Put gates and an audit trail in front of an MCP server that speaks over its standard input and output.\n" +
			"Use it as the command of the server in the config of any MCP client. Reads pass; a write waits until your client has asked you,\n" +
			"and is denied where it cannot, or with --background. What a policy file allows passes without being asked.\n\n" +
			"Every call and every verdict is an audit record. With --server or --token-file (or their variables) records go to the server's\n" +
			"intake, which needs a token with the role ingest and the sources audit and workflowrun; else they go to files, see --record.\n" +
			"No write is made before its verdict is on disk there.",
		Example: "  agentrail gate -- npx -y @modelcontextprotocol/server-filesystem ~/notes\n" +
			"  agentrail gate --background --policy policy.yaml --user dana@example.com --server http://127.0.0.1:7680 --token-file gate.token -- npx -y @modelcontextprotocol/server-filesystem /srv/reports",
		Args: cobra.MinimumNArgs(1),
	}
	cl := addClient(c, cmd)
	cmd.Flags().Lookup("server").Usage = "address of the server that takes the records (env AGENTRAIL_SERVER)"
	cmd.Flags().Lookup("token-file").Usage = "file with a token of the role ingest (env AGENTRAIL_TOKEN_FILE)"
	cmd.Flags().StringVar(&f.policy, "policy", "", "file that says which writes pass without being asked, and the bounds")
	cmd.Flags().StringVar(&f.user, "user", "", "on whose behalf calls are made (default: the user of this process)")
	cmd.Flags().StringVar(&f.agent, "agent", "", "name of the agent in the records (default: what the client calls itself)")
	cmd.Flags().StringVar(&f.record, "record", "", "file for the records where no server is named (default gate.ndjson in the state folder)")
	cmd.Flags().StringVar(&f.state, "state", "", "state folder, for records and known definitions of tools (default $XDG_STATE_HOME/agentrail or ~/.local/state/agentrail)")
	cmd.Flags().BoolVar(&f.background, "background", false, "nobody is present to confirm: what the policy does not allow is denied")
	cmd.Flags().BoolVar(&f.approve, "approve-definitions", false, "forget the known definitions of this server's tools and take those it has now")
	cmd.RunE = func(cmd *cobra.Command, command []string) error {
		return runGate(cmd.Context(), c, cl, &f, command)
	}
	return cmd
}

// drainTimeout is how long waiting records may take at the end; clients kill
// their servers a few seconds after they closed their input.
const drainTimeout = 2 * time.Second

// runGate serves one client on standard input and output.
func runGate(ctx context.Context, c *console, cl *client, f *gateFlags, command []string) error {
	log := slog.New(slog.NewTextHandler(c.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	rules := gate.DefaultRules()
	var err error
	if f.policy != "" {
		if rules, err = gate.LoadRules(f.policy); err != nil {
			return hintf("an example stands in the README, section Executor", "%w", err)
		}
	}
	if f.user == "" {
		u, err := user.Current()
		if err != nil || u.Username == "" {
			return usagef("name it with --user", "it is not known on whose behalf calls are made")
		}
		f.user = u.Username
	}
	if f.state == "" {
		f.state = filepath.Join(firstOf(c.env("XDG_STATE_HOME"), filepath.Join(c.env("HOME"), ".local", "state")), "agentrail")
	}
	definitions, err := knownDefinitions(f, command)
	if err != nil {
		return err
	}
	recorder, err := openRecorder(c, cl, f, log)
	if err != nil {
		return err
	}
	g, err := gateway.New(gateway.Options{
		Command: command, Env: wrappedEnv(os.Environ()), Rules: rules, User: f.user, Agent: f.agent, Background: f.background,
		Recorder: recorder, Definitions: definitions, Version: version, Log: log, Stderr: c.err,
	})
	if err != nil {
		return err
	}
	serveErr := g.Serve(ctx, &mcp.StdioTransport{})
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := recorder.Close(flush); err != nil {
		return hintf("send them when the server answers again: curl --data-binary @FILE .../v1/audit, and the file with -runs to .../v1/workflowrun", "%w", err)
	}
	if serveErr != nil {
		return hintf("does it run by itself? "+strings.Join(command, " "), "%w", serveErr)
	}
	return nil
}

// knownDefinitions opens the definitions of this command's tools.
func knownDefinitions(f *gateFlags, command []string) (*gateway.Definitions, error) {
	sum := sha256.Sum256([]byte(strings.Join(command, "\x00")))
	file := filepath.Join(f.state, "definitions", hex.EncodeToString(sum[:8])+".json")
	if f.approve {
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("forget known definitions: %w", err)
		}
	}
	return gateway.OpenDefinitions(file)
}

// openRecorder chooses where records go: to a server if one was named in any
// way, else to files.
func openRecorder(c *console, cl *client, f *gateFlags, log *slog.Logger) (trail.Recorder, error) {
	if firstOf(cl.server, cl.tokenFile, c.env("AGENTRAIL_SERVER"), c.env("AGENTRAIL_TOKEN_FILE")) == "" {
		return trail.OpenFile(firstOf(f.record, filepath.Join(f.state, "gate.ndjson")))
	}
	if f.record != "" {
		return nil, usagef("leave out one of them", "--record is for records that go to no server")
	}
	base, err := cl.base()
	if err != nil {
		return nil, err
	}
	token, err := cl.token()
	if err != nil {
		return nil, err
	}
	return trail.NewHTTP(trail.HTTPOptions{
		Server: strings.TrimSuffix(base.String(), "/"), Token: token, Log: log,
		Spool: filepath.Join(f.state, "gate-unsent.ndjson"),
	}), nil
}

// wrappedEnv is the environment of the wrapped server: ours without what says
// where our token is.
func wrappedEnv(env []string) []string {
	var out []string
	for _, kv := range env {
		if !strings.HasPrefix(kv, "AGENTRAIL_") {
			out = append(out, kv)
		}
	}
	return out
}
