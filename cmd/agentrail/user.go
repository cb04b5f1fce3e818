package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/agentrail/agentrail/internal/auth"
)

func newUser(c *console) *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "Make people who log in by name and password"}
	cmd.AddCommand(newUserAdd(c), newUserPasswd(c))
	return cmd
}

func newUserAdd(c *console) *cobra.Command {
	var file, name, tenant string
	var roles []string
	cmd := &cobra.Command{
		Use:   "add --name NAME --roles ROLE,...",
		Short: "Add a person to the token file",
		Long: fmt.Sprintf("Add a person to the token file, with the argon2id hash of a password of at least %d bytes: asked for twice at a terminal,\n"+
			"else the first line of the standard input. People who log in at an identity provider (auth.oidc) need none of this.", auth.MinPassword),
		Example: "  agentrail user add --file /etc/agentrail/tokens.yaml --name jane@example.com --roles viewer,analyst",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&file, "file", "tokens.yaml", "token file of the server")
	cmd.Flags().StringVar(&name, "name", "", "name of the person (mandatory)")
	cmd.Flags().StringVar(&tenant, "tenant", "default", "tenant that they belong to")
	cmd.Flags().StringSliceVar(&roles, "roles", nil, "what they may do (mandatory)")
	closedSet(cmd, "roles", roleNames()...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := newPrincipal(cmd.CommandPath(), name, tenant, roles, nil)
		if err != nil {
			return err
		}
		password, err := c.password()
		if err != nil {
			return err
		}
		if err := auth.AddUser(file, p, password); err != nil {
			return fmt.Errorf("add user: %w", err)
		}
		fmt.Fprintf(c.err, "%s of tenant %s may now log in: %s; a running server reads the file again on SIGHUP\n", name, tenant, strings.Join(roles, ", "))
		return nil
	}
	return cmd
}

func newUserPasswd(c *console) *cobra.Command {
	var file, name string
	cmd := &cobra.Command{
		Use:     "passwd --name NAME",
		Short:   "Give a principal of the token file another password",
		Long:    "Give a principal of the token file another password, or its first. Sessions that were begun with the old one end.",
		Example: "  agentrail user passwd --file /etc/agentrail/tokens.yaml --name jane@example.com",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&file, "file", "tokens.yaml", "token file of the server")
	cmd.Flags().StringVar(&name, "name", "", "name of the principal (mandatory)")
	cmd.RunE = func(*cobra.Command, []string) error {
		if name == "" {
			return usagef("agentrail user passwd --name NAME", "name is mandatory")
		}
		password, err := c.password()
		if err != nil {
			return err
		}
		if err := auth.SetPassword(file, name, password); err != nil {
			return fmt.Errorf("set password: %w", err)
		}
		fmt.Fprintln(c.err, "the password is set; a running server reads the file again on SIGHUP")
		return nil
	}
	return cmd
}

// password asks twice at a terminal, which does not show it, and else reads a
// line.
func (c *console) password() (string, error) {
	if f, ok := c.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		var typed [2]string
		for i, prompt := range []string{"Password: ", "Once more: "} {
			fmt.Fprint(c.err, prompt)
			b, err := term.ReadPassword(int(f.Fd()))
			fmt.Fprintln(c.err)
			if err != nil {
				return "", fmt.Errorf("read password: %w", err)
			}
			typed[i] = string(b)
		}
		if typed[0] != typed[1] {
			return "", usagef("type the same twice", "the passwords differ")
		}
		return typed[0], nil
	}
	line, err := bufio.NewReader(io.LimitReader(c.in, 2*auth.MaxPassword)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}
