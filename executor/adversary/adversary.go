// Package adversary holds what hostile people, content, tools and clocks do to
// the executor, each beside a benign twin that must pass. It is a suite of tests
// over the real engine, database, records and an MCP server that misbehaves.
package adversary
