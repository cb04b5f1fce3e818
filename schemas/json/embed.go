// Package jsonschema holds the JSON Schemas (draft 2020-12) of the records that
// Agentrail accepts and of everything that it emits.
package jsonschema

import "embed"

// Files has one schema a file, named after what it describes.
//
//go:embed *.schema.json
var Files embed.FS
