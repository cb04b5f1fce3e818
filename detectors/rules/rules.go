// Package rules holds the Sigma rules that Agentrail ships, each with its tests
// beside it. Package detectors/sigma loads them.
package rules

import "embed"

// Files are the rules and their tests.
//
//go:embed *.yml *.test.yaml
var Files embed.FS
