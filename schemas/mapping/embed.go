// Package mapping holds the mappings that Agentrail ships: which field of a
// foreign record means what. They are data, so that an operator can override
// each of them; package collector/decode compiles them. audit.yaml explains
// the format.
package mapping

import "embed"

// Files has one file for each shipped mapping and shared table, by name. The
// examples are not in it: they are for operators to copy.
//
//go:embed *.yaml
var Files embed.FS

// SigmaFile is the file of Files that is not a mapping of records to events: it
// says how Sigma rules fit events, and package detectors/sigma reads it.
const SigmaFile = "sigma.yaml"
