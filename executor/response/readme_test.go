package response_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/executor/response"
)

// TestReadme: the policies of the README are taken as they stand.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```yaml\n(version: 1 # in a file of its own\n.*?)```").FindSubmatch(b)
	if found == nil {
		t.Fatal("the README shows no policies")
	}
	t.Setenv("RESPONSE_TEST_TOKEN", "x")
	c, err := response.Parse("README.md", strings.Replace(string(found[1]), "token_file: /etc/agentrail/glean.token", "token: '${env:RESPONSE_TEST_TOKEN}'", 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := response.OpenTargets(c, response.Deps{Log: discard}); err != nil {
		t.Error(err)
	}
}
