// Package rules holds the Sigma rules that Agentrail ships, each with its tests
// beside it, and the table of what they cover. Package detectors/sigma loads
// the rules.
package rules

import "embed"

// Files are the rules, their tests and the table.
//
//go:embed *.yml *.test.yaml rows.yaml
var Files embed.FS
