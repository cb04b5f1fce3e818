#!/usr/bin/env bash
# The rules and dashboards of our own health with Debian's Prometheus and
# promtool. Where they are missing and may be installed, they are, without
# starting the service. Ends with 3 and a reason if they cannot be had here.
set -euo pipefail
cd "$(dirname "$0")/../.."

without() { echo "NOT RUN: $*"; exit 3; }
if ! command -v prometheus promtool >/dev/null; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
    without "no prometheus, and it cannot be installed: apt-get install prometheus as root"
  (apt-get update && RUNLEVEL=1 apt-get install -y --no-install-recommends prometheus) >&2 ||
    without "apt-get cannot install prometheus"
fi
AGENTRAIL_PROMETHEUS=$(command -v prometheus) AGENTRAIL_PROMTOOL=$(command -v promtool) \
  go test -timeout 4m -count=1 -v -tags integration -run TestPrometheusIntegration ./cmd/agentrail
