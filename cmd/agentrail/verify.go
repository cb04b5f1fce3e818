package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/collector/notary"
)

func newVerify(c *console) *cobra.Command {
	var data, format, caseFile string
	var copied copyCheck
	var keys, heads []string
	cmd := &cobra.Command{
		Use:   "verify --data DIR --key FILE",
		Short: "Prove offline that the journal, or an exported case, is unchanged",
		Long: "Read the whole journal and compare checksums, the digest of every record, the chain of frames and the signed heads.\n" +
			"The first changed, missing or reordered frame is named. Nothing is changed and no server is asked.\n" +
			"That its end was not cut off, or the whole replaced by an older copy, only a head can show that was kept elsewhere:\n" +
			"give it with --head (the JSON of a head event as a sink wrote it, or a signed note).\n" +
			"With --copy, hold events that a sink wrote elsewhere to their digests, to the signed heads among them and, if --data is given\n" +
			"as well, to the journal, event by event and field by field. It reads every format (native, OCSF, ECS, UDM, CEF, LEEF), one event\n" +
			"a line, as sent or as Splunk and Elasticsearch export them, lines of syslog, gzip, and Parquet of Security Lake; of a folder all files.\n" +
			"With --config and --sink too, every event that the sink sends must be there, and be exactly what it writes.",
		Example: "  agentrail verify --data /var/lib/agentrail --key /etc/agentrail/head.key.pub\n" +
			"  agentrail verify --data /var/lib/agentrail --key head.key.pub --head head-from-siem.json\n" +
			"  agentrail verify --copy export.ndjson --key head.key.pub\n" +
			"  agentrail verify --copy export.ndjson --data /var/lib/agentrail --key head.key.pub\n" +
			"  agentrail verify --copy s3-folder --data /var/lib/agentrail --config agentrail.yaml --sink archive --key head.key.pub\n" +
			"  agentrail verify --case case.zip --key head.key.pub",
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&data, "data", "data", "data folder of the server, or the folder of a journal")
	cmd.Flags().StringVar(&caseFile, "case", "", "zip file of `agentrail case export`, or the folder with its files, instead of a journal")
	cmd.Flags().StringSliceVar(&keys, "key", nil, "file with the public key, head.key.pub; again for keys before it (mandatory)")
	cmd.Flags().StringSliceVar(&heads, "head", nil, "file with a head that was kept elsewhere; may be given again")
	cmd.Flags().StringVar(&copied.file, "copy", "", "file or folder with events that a sink wrote, one a line; - is the standard input")
	cmd.Flags().StringVar(&copied.config, "config", "", "with --copy: config of the server, for its mappings and the sink")
	cmd.Flags().StringVar(&copied.sink, "sink", "", "with --copy, --data and --config: name of the sink that wrote the copy")
	cmd.Flags().BoolVar(&copied.each, "each", false, "with --copy: print what is proved of each event, as NDJSON; findings go to standard error")
	cmd.Flags().StringVarP(&format, "output", "o", "table", "format: table or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if format != "table" && format != "json" {
			return usagef("use --output table or json", "unknown output format %q", format)
		}
		o, err := verifyOptions(keys, heads)
		if err != nil {
			return err
		}
		if caseFile != "" {
			return verifyCase(c, format, caseFile, o.Keys)
		}
		copied.format = format
		if copied.sink != "" && (copied.config == "" || copied.file == "" || !cmd.Flags().Changed("data")) {
			return usagef("add --copy FILE --data DIR --config FILE", "--sink is for a copy that is held to a journal")
		}
		if copied.file != "" && !cmd.Flags().Changed("data") {
			return copied.verify(cmd.Context(), c, o)
		}
		dir, err := journalFolder(data)
		if err != nil {
			return err
		}
		if copied.file != "" {
			copied.dir = dir
			return copied.verify(cmd.Context(), c, o)
		}
		res, err := notary.Verify(dir, o)
		if err != nil {
			return err
		}
		if err := printVerified(c, format, dir, res); err != nil {
			return err
		}
		if !res.OK() {
			return &findings{n: len(res.Findings)}
		}
		return nil
	}
	return cmd
}

func verifyOptions(keys, heads []string) (o notary.VerifyOptions, err error) {
	if len(keys) == 0 {
		return o, usagef("add --key head.key.pub; it lies beside the signing key (evidence.key in the config)", "verify needs the public key")
	}
	for _, file := range keys {
		b, err := os.ReadFile(file)
		if err != nil {
			return o, fmt.Errorf("read public key: %w", err)
		}
		key := strings.TrimSpace(string(b))
		if strings.HasPrefix(key, "PRIVATE") {
			return o, hintf("give "+file+".pub instead, and keep the private key where it is", "%s is the private key", file)
		}
		o.Keys = append(o.Keys, key)
	}
	for _, file := range heads {
		b, err := os.ReadFile(file)
		if err != nil {
			return o, fmt.Errorf("read head: %w", err)
		}
		h, err := notary.ParseHead(b)
		if err != nil {
			return o, fmt.Errorf("%s: %w", file, err)
		}
		o.Heads = append(o.Heads, h)
	}
	return o, nil
}

// journalFolder returns the folder of the journal: dir itself, or where serve
// puts it in its data folder.
func journalFolder(dir string) (string, error) {
	for _, d := range []string{dir, filepath.Join(dir, "journal"), filepath.Join(dir, "data", "journal")} {
		_, err := os.Stat(filepath.Join(d, "segments"))
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find journal: %w", err)
		}
	}
	return "", hintf("name the data folder of the server (data: in its config) with --data", "there is no journal in %s", dir)
}

func printVerified(c *console, format, dir string, r *notary.Result) error {
	if format == "json" {
		return printJSON(c.out, struct {
			OK bool `json:"ok"`
			*notary.Result
		}{r.OK(), r})
	}
	p := &page{w: c.out}
	for _, f := range r.Findings {
		p.line("", f.String())
	}
	if r.Suppressed > 0 {
		p.line("", fmt.Sprintf("and %d more", r.Suppressed))
	}
	verdict := "unchanged"
	if r.TornTail {
		verdict = fmt.Sprintf("unchanged up to frame %d", r.Last)
	}
	if !r.OK() {
		verdict = "NOT unchanged"
	}
	p.line("", fmt.Sprintf("%s: %s", dir, verdict))
	p.line("frames", fmt.Sprintf("%d (%d to %d) with %d records", r.Frames, r.First, r.Last, r.Records))
	if r.First > 0 {
		p.line("before", fmt.Sprintf("frames 0 to %d are gone by retention; the journal cannot say more about them", r.First-1))
	}
	p.line("heads", fmt.Sprintf("%d in the journal agree, %d kept elsewhere agree", r.Heads, r.External))
	if r.SignedAt.IsZero() {
		p.line("signed", "nothing")
	} else {
		p.line("signed", fmt.Sprintf("up to frame %d, %s; %d frames after it rest on the chain alone", r.SignedTo, human(r.SignedAt), r.Unsigned))
	}
	if r.TornTail {
		p.line("end", fmt.Sprintf("behind frame %d lies no whole frame: an unfinished write, normal while the server runs and after a crash", r.Last))
		p.line("", "after a clean stop it would be a finding; a last frame that was changed after a crash, before anybody read it, looks the same:")
		p.line("", "only a head kept elsewhere (--head) can tell")
	}
	if r.External == 0 {
		p.line("not shown", "whether the end was cut off or the whole is an older copy; give a head kept elsewhere with --head")
	}
	return p.err
}
