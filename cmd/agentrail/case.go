package main

import (
	"archive/zip"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/collector/notary"
)

func newCase(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "case",
		Short: "Take an alert away with all that belongs to it",
	}
	cmd.AddCommand(newCaseExport(c))
	return cmd
}

func newCaseExport(c *console) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "export ID",
		Short: "Write one alert with its records, runs, traces, verdicts and responses into a zip file",
		Long: "Write one alert with all that belongs to it into a zip file: records as received, runs with calls, verdicts and trace, responses,\n" +
			"the time line, a signed head and a signed manifest. CHECK.txt in it says how to verify it offline. The export is itself an event.\n" +
			"Needs a role that may read content: analyst, admin or auditor.",
		Example: "  agentrail case export a2ff68b294ecbd5b9 -o case.zip\n  agentrail verify --case case.zip --key head.key.pub",
		Args:    cobra.ExactArgs(1),
	}
	cl := addClient(c, cmd)
	cmd.ValidArgsFunction = cl.completeAlerts
	cmd.Flags().StringVarP(&file, "output", "o", "", "file to write; default case-ID.zip")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		to := firstOf(file, "case-"+filepath.Base(args[0])+".zip")
		req, err := cl.request(cmd.Context(), http.MethodPost, "alerts/"+url.PathEscape(args[0])+"/case", nil, nil)
		if err != nil {
			return err
		}
		body, err := cl.send(req)
		if err != nil {
			return err
		}
		defer body.Close()
		f, err := os.OpenFile(to+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("write case: %w", err)
		}
		_, err = io.Copy(f, body)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			err = os.Rename(to+".part", to)
		}
		if err != nil {
			_ = os.Remove(to + ".part") // what is there is not whole
			return fmt.Errorf("write case: %w", err)
		}
		_, err = fmt.Fprintf(c.out, "%s: written; verify it with: agentrail verify --case %s --key head.key.pub\n", clean(to), clean(to))
		return err
	}
	return cmd
}

// verifyCase holds an exported case, a zip file or a folder, against its
// manifest.
func verifyCase(c *console, format, at string, keys []string) error {
	st, err := os.Stat(at)
	if err != nil {
		return hintf("name the zip file of `agentrail case export`, or the folder with its files", "read case: %w", err)
	}
	var files fs.FS = os.DirFS(at)
	if !st.IsDir() {
		z, err := zip.OpenReader(at)
		if err != nil {
			return fmt.Errorf("read case %s: %w", at, err)
		}
		defer z.Close()
		files = z
	}
	r, err := notary.VerifyCase(files, keys)
	if err != nil {
		return hintf("name the zip file of `agentrail case export`, or the folder with its files", "%w", err)
	}
	if err := printCase(c, format, at, r); err != nil {
		return err
	}
	if !r.OK() {
		return &findings{n: len(r.Findings)}
	}
	return nil
}

func printCase(c *console, format, at string, r *notary.CaseResult) error {
	if format == "json" {
		return printJSON(c.out, struct {
			OK bool `json:"ok"`
			*notary.CaseResult
		}{r.OK(), r})
	}
	p := &page{w: c.out}
	for _, f := range r.Findings {
		p.line("", f.String())
	}
	verdict := "unchanged"
	if !r.OK() {
		verdict = "NOT unchanged"
	}
	p.line("", fmt.Sprintf("%s: %s", at, verdict))
	for _, line := range r.About {
		p.line("signed", line)
	}
	p.line("files", fmt.Sprintf("%d as signed by %s", r.Files, firstOf(r.KeyID, "nobody")))
	return p.err
}
