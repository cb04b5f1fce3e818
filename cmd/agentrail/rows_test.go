package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// rows is which tests hold what is demanded of the product, row by row; each of
// them names its row, in its comment or beside the case.
var rows = map[string][]string{
	"S1":  {"executor/run.TestS1IdentityOfTheSubscriber", "executor/gate.TestGates", "executor/platform.TestNobodyElsesSubscription", "cmd/agentrail.TestExecutorMCP"},
	"S2":  {"executor/gate.TestGates", "executor.TestFaults"},
	"S3":  {"executor/run.TestS3RiskyInputsNeedAModeratorsReview", "executor/platform.TestReviewOfARiskyInput"},
	"S4":  {"executor/run.TestS4OpenWebByDomain", "executor.TestFaults"},
	"S5":  {"executor/gate.TestGates", "executor.TestFaults"},
	"S6":  {"executor/platform.TestReview"},
	"S7":  {"executor/platform.TestReview"},
	"S8":  {"executor/run.TestS8AdminGate", "cmd/agentrail.TestInteractive"},
	"S9":  {"executor/run.TestS9ModeratorGate", "executor/platform.TestModeration", "executor/platform.TestWhoMaySubscribe"},
	"S10": {"executor/run.TestS10DestructiveGate"},
	"S11": {"executor/run.TestS11Destinations", "executor/gate.TestGates"},
	"S12": {"executor/run.TestS12Scopes", "executor/platform.TestAccess"},
	"S13": {"executor/run.TestS13Bounds"},
	"S14": {"executor.TestFaults"},
	"S15": {"executor/gate.TestGates"},
	"S16": {"executor/platform.TestRuns", "cmd/agentrail.TestExecutor"},
	"S17": {"executor/platform.TestSubscription", "executor/platform.TestRuns", "cmd/agentrail.TestExecutor", "cmd/agentrail.TestExecutorCutFromTheServer"},
	"S18": {"cmd/agentrail.TestExecutor"},
	"S19": {"cmd/agentrail.TestRunWithItsTrace"},
	"S20": {"sinks.TestForwarderOnAJournal"},
	"S21": {"cmd/agentrail/api.TestEventsAsCSVAreNoFormulas"},
	"S22": {"detectors.TestSubscription"},
	"S23": {"detectors.TestBurst"},
	"S24": {"detectors.TestJoined", "detectors.TestShape", "detectors.TestTrace"},
	"S25": {"detectors.TestDenial"},
	"S26": {"cmd/agentrail.TestExecutor"},
	"S27": {"cmd/agentrail.TestSpecsAreReadAgain", "cmd/agentrail.TestInteractive"},
	"S28": {"cmd/agentrail.TestExecutor", "executor.TestFaults"},
	"S29": {"executor.TestFaults"},
	"S30": {"executor.TestRehearse"},
	"S31": {"executor/platform.TestModeration", "executor/platform.TestReview"},
	"S32": {"executor/platform.TestWhoMaySubscribe", "executor/gate.TestGates"},
	"S33": {"executor/platform.TestSubscription", "cmd/agentrail.TestSpecsAreReadAgain"},
	"S34": {"executor/response.TestAlertsAndPolicies"},
	"S35": {"executor/platform.TestReview"},
	"S36": {"cmd/agentrail.TestPanels"},
}

// TestRows: each row has its tests, and each of these names the row.
func TestRows(t *testing.T) {
	root := filepath.Join("..", "..")
	sources := map[string]string{} // "folder.TestName" -> its comment and text
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "node_modules" || d.Name() == "data") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				body := text[files.Position(fn.Pos()).Offset:files.Position(fn.End()).Offset]
				sources[filepath.ToSlash(folder)+"."+fn.Name.Name] = fn.Doc.Text() + string(body)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 36; n++ {
		if row := "S" + strconv.Itoa(n); len(rows[row]) == 0 {
			t.Errorf("%s has no test", row)
		}
	}
	for row, tests := range rows {
		word := regexp.MustCompile(`\b(Test)?` + row + `([^0-9]|$)`)
		for _, name := range tests {
			text, ok := sources[name]
			switch {
			case !ok:
				t.Errorf("%s: there is no test %s", row, name)
			case !word.MatchString(text):
				t.Errorf("%s: %s does not name it", row, name)
			}
		}
	}
}
