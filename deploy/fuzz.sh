#!/usr/bin/env bash
# Runs every fuzz target of the tree for the given time each (default 30s).
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
failed=0
while read -r file; do
  dir=./$(dirname "$file")
  for target in $(grep -oE '^func Fuzz[A-Za-z0-9_]*' "$file" | cut -c6-); do
    printf '%-28s %-28s %s\n' "$dir" "$target" "$time"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$dir" </dev/null || failed=1
  done
done < <(git ls-files '*_test.go' | xargs grep -l '^func Fuzz')
exit $failed
