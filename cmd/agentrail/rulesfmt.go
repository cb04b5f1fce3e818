package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/agentrail/agentrail/detectors/sigma"
)

func newRulesFmt(c *console) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "fmt PATH...",
		Short: "Write rules in one way: order of keys, indentation",
		Long: "Write the rule files of folders, or single files, in one way: keys in the usual order, two spaces of indentation. Comments\n" +
			"stay, and what a rule means never changes: a file of which that cannot be said is named and left as it is. The names of\n" +
			"files that change are printed. Exit code 1 if a file could not be read, or with --check if one would change.",
		Example: "  agentrail rules fmt rules/\n  agentrail rules fmt --check rules/",
		Args:    cobra.MinimumNArgs(1),
	}
	cmd.Flags().BoolVar(&check, "check", false, "change nothing; only name what would change")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		f := &ruleFormatter{c: c, check: check}
		for _, name := range args {
			if err := f.path(name); err != nil {
				return err
			}
		}
		if n := f.faults; n > 0 {
			return &findings{n}
		}
		if n := f.changed; n > 0 && check {
			return &findings{n}
		}
		return nil
	}
	return cmd
}

type ruleFormatter struct {
	c               *console
	check           bool
	faults, changed int
}

// path formats a file, or the rule files below a folder.
func (f *ruleFormatter) path(root string) error {
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() || name != root && !sigma.IsRuleFile(name) {
			return nil
		}
		f.file(name)
		return nil
	})
	if err != nil {
		return hintf("name a folder of rules, or a file", "format rules: %w", err)
	}
	return nil
}

// file formats one file. A fault is told, and the others go on.
func (f *ruleFormatter) file(name string) {
	data, err := os.ReadFile(name)
	var tidy []byte
	if err == nil {
		tidy, err = sigma.Format(name, data)
	}
	if err == nil && !bytes.Equal(tidy, data) {
		f.changed++
		fmt.Fprintln(f.c.out, clean(name))
		if !f.check {
			err = replaceFile(name, tidy)
		}
	}
	if err != nil {
		f.faults++
		fmt.Fprintln(f.c.err, clean(err.Error()))
	}
}

// replaceFile puts the content in the place of the file at once, so that it is
// never half there.
func replaceFile(name string, data []byte) error {
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(name), ".rules-*")
	if err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	defer os.Remove(file.Name()) // gone once it is renamed
	_, err = file.Write(data)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chmod(file.Name(), info.Mode().Perm())
	}
	if err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
