// Package clickhouse holds the tables of the store as versioned migrations.
// A file that was released is never changed: a change is a new file.
package clickhouse

import "embed"

// Migrations are the files NNNN_name.sql. Statements end with a semicolon at
// the end of a line and can be repeated after a crash.
//
//go:embed *.sql
var Migrations embed.FS
