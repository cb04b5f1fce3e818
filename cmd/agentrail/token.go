package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/plug"
)

func newToken(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make tokens for callers of the server"}
	cmd.AddCommand(newTokenNew(c))
	return cmd
}

func newTokenNew(c *console) *cobra.Command {
	var file, name, tenant, valid string
	var roles, sources []string
	cmd := &cobra.Command{
		Use:   "new --name NAME --roles ROLE,...",
		Short: "Make a token, add its digest to the token file and print it once",
		Long: "Make a token for a principal, add its SHA-256 to the token file and print the token, which is kept nowhere.\n" +
			"Two tokens of a name may live at once, so that one can be replaced without a gap.\n" +
			"Roles: " + strings.Join(roleNames(), ", ") + ".",
		Example: "  agentrail token new --file /etc/agentrail/tokens.yaml --name siem-reader --roles viewer > reader.token",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&file, "file", "tokens.yaml", "token file of the server")
	cmd.Flags().StringVar(&name, "name", "", "name of the principal (mandatory)")
	cmd.Flags().StringVar(&tenant, "tenant", "default", "tenant that it belongs to")
	cmd.Flags().StringSliceVar(&roles, "roles", nil, "what it may do (mandatory)")
	cmd.Flags().StringSliceVar(&sources, "sources", nil, "sources that it may send to; none means all")
	cmd.Flags().StringVar(&valid, "valid", "", "how long the token lives, such as 90d; empty means until it is removed")
	closedSet(cmd, "roles", roleNames()...)
	cmd.RunE = func(*cobra.Command, []string) error {
		p, err := newPrincipal("agentrail token new", name, tenant, roles, sources)
		if err != nil {
			return err
		}
		var life plug.Duration
		if valid != "" {
			if err := life.UnmarshalText([]byte(valid)); err != nil || life <= 0 {
				return usagef("write 12h or 90d", "--valid is %q", valid)
			}
		}
		token, err := auth.Generate(file, p, time.Duration(life))
		if err != nil {
			return fmt.Errorf("make token: %w", err)
		}
		fmt.Fprintln(c.out, token)
		fmt.Fprintf(c.err, "principal %s of tenant %s may now: %s; a running server reads the file again on SIGHUP\n", name, tenant, strings.Join(roles, ", "))
		return nil
	}
	return cmd
}

func newPrincipal(command, name, tenant string, roles, sources []string) (auth.Principal, error) {
	p := auth.Principal{Name: name, Tenant: tenant, Sources: sources}
	if name == "" || tenant == "" || len(roles) == 0 {
		return p, usagef(command+" --name NAME --roles ROLE,...", "name, tenant and roles are mandatory")
	}
	known := roleNames()
	for _, r := range roles {
		ok := false
		for _, k := range known {
			ok = ok || k == r
		}
		if !ok {
			return p, usagef("roles: "+strings.Join(known, ", "), "unknown role %q", r)
		}
		p.Roles = append(p.Roles, auth.Role(r))
	}
	return p, nil
}

func roleNames() []string {
	var out []string
	for _, r := range auth.Roles() {
		out = append(out, string(r))
	}
	return out
}
