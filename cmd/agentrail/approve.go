package main

import (
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/response"
)

func newApprove(c *console) *cobra.Command {
	var format, reason string
	var decline, dry bool
	cmd := &cobra.Command{
		Use:   "approve [ID]",
		Short: "Confirm a write or a response that waits; without an id, list what waits for you",
		Long: "Confirm a write of a run of yours, or decline it. An approval is good for that one call with those arguments, once, until it expires.\n" +
			"Only the user on whose behalf the call would be made may answer. The id of a response (resp_...) approves that; see agentrail responses.",
		Example: "  agentrail approve\n  agentrail approve cf_1a2b\n  agentrail approve cf_1a2b --decline",
		Args:    cobra.MaximumNArgs(1),
	}
	cl := addExecutor(c, cmd)
	addShow(cmd, &format)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var list platform.ConfirmationList
		return cl.complete(cmd, args, executorPath("confirmations"), &list, func() (out []cobra.Completion) {
			for _, cf := range list.Confirmations {
				out = append(out, cobra.CompletionWithDesc(cf.ID, clean(cf.Summary)))
			}
			return out
		})
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why; kept with the record of a response")
	cmd.Flags().BoolVar(&decline, "decline", false, "say no")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be done")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkShow(format); err != nil {
			return err
		}
		if len(args) == 0 {
			return c.listConfirmations(cmd, cl, format)
		}
		verb, said := "approve", "approved"
		if decline {
			verb, said = "decline", "declined"
		}
		if dry {
			_, err := fmt.Fprintf(c.out, "would %s %s\n", verb, clean(args[0]))
			return err
		}
		if response.IsID(args[0]) {
			return c.answerResponse(cmd, cl, format, args[0], verb, reason)
		}
		var done platform.Confirmation
		if err := cl.post(cmd.Context(), executorPath("confirmations/"+url.PathEscape(args[0])+"/"+verb), struct{}{}, &done); err != nil {
			return err
		}
		return c.show(format, done, func() error {
			_, err := fmt.Fprintf(c.out, "%s: %s\n", said, clean(done.Summary))
			return err
		})
	}
	return cmd
}

func (c *console) listConfirmations(cmd *cobra.Command, cl *client, format string) error {
	var list platform.ConfirmationList
	if err := cl.get(cmd.Context(), executorPath("confirmations"), nil, &list); err != nil {
		return err
	}
	nothing(c, format, len(list.Confirmations), "nothing waits for you")
	return c.show(format, list.Confirmations, func() error {
		return printTable(c.out, terminalWidth(c.out), list.Confirmations, []api.Column[platform.Confirmation]{
			{Name: "id", Value: func(v platform.Confirmation) string { return v.ID }},
			{Name: "until", Value: func(v platform.Confirmation) string { return human(v.Expires) }},
			{Name: "for", Value: func(v platform.Confirmation) string { return v.User }},
			{Name: "tool", Value: func(v platform.Confirmation) string { return v.Tool }},
			{Name: "call", Value: func(v platform.Confirmation) string { return v.Summary }},
		})
	})
}
