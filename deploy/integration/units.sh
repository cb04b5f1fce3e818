#!/usr/bin/env bash
# systemd's own check of the units, with the program where it was built. Ends
# with 3 and a reason where there is no systemd-analyze.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v systemd-analyze >/dev/null || { echo "NOT RUN: no systemd-analyze here"; exit 3; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for unit in deploy/systemd/*.service; do
  sed "s|/usr/bin/agentrail|$PWD/bin/agentrail|" "$unit" >"$dir/$(basename "$unit")"
done
said=$(SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no "$dir"/*.service 2>&1 | grep -F "$dir" || true)
[ -z "$said" ] || { echo "$said"; exit 1; }
for unit in "$dir"/*.service; do
  systemd-analyze security --offline=true --threshold=25 "$unit" | tail -n 1
done
