#!/bin/sh
# Fetches the MCP reference servers that the sample agents of `make up` use,
# while the program is being built. Where that is not possible `agentrail up`
# uses servers of its own: this script never fails and says nothing.
set -u
command -v npm >/dev/null && command -v flock >/dev/null || exit 0
release=2026.8.31
dir=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/agentrail/mcp
mkdir -p "$dir" 2>/dev/null || exit 0
[ ! -e "$dir/$release" ] || exit 0
exec 9>"$dir/.lock" || exit 0
flock -n 9 || exit 0

tmp=$(mktemp -d "$dir/fetch-XXXXXX") || exit 0
trap 'rm -rf "$tmp"' EXIT
trap 'exit 0' INT TERM HUP
npm install --prefix "$tmp" --no-audit --no-fund --silent \
	"@modelcontextprotocol/server-filesystem@$release" \
	"@modelcontextprotocol/server-everything@$release" >/dev/null 2>&1 &&
	mv "$tmp" "$dir/$release" 2>/dev/null # whole or not at all
exit 0
