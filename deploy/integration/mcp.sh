#!/usr/bin/env bash
# Puts `agentrail gate`, and the gateway of `agentrail executor` over HTTP, in
# front of the official MCP servers from npm, driven by the official clients in
# Go and JavaScript and by the official inspector; the records go to a real
# server.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$PWD/.cache/mcp
mkdir -p "$dir"
cp deploy/integration/mcp-client.mjs "$dir/client.mjs"
cp deploy/integration/mcp-http-client.mjs "$dir/http-client.mjs"
(cd "$dir" && npm install --no-audit --no-fund --silent \
  @modelcontextprotocol/server-filesystem@2026.8.31 \
  @modelcontextprotocol/server-everything@2026.8.31 \
  @modelcontextprotocol/inspector@2.12.0)
AGENTRAIL_MCP=$dir go test -count=1 -v -tags integration -run OfficialMCP ./cmd/agentrail
