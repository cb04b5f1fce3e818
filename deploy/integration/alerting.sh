#!/usr/bin/env bash
# Alerts to people with Debian's programs: prometheus-alertmanager as external
# receiver, amtool as client of ours. Where they are missing and may be
# installed, they are, without starting the service. Ends with 3 and a reason if
# they cannot be had here.
set -euo pipefail
cd "$(dirname "$0")/../.."

without() { echo "NOT RUN: $*"; exit 3; }
if ! command -v prometheus-alertmanager amtool >/dev/null; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
    without "no prometheus-alertmanager, and it cannot be installed: apt-get install prometheus-alertmanager as root"
  (apt-get update && RUNLEVEL=1 apt-get install -y --no-install-recommends prometheus-alertmanager) >&2 ||
    without "apt-get cannot install prometheus-alertmanager"
fi
AGENTRAIL_ALERTMANAGER=$(command -v prometheus-alertmanager) AGENTRAIL_AMTOOL=$(command -v amtool) \
  go test -timeout 3m -count=1 -v -tags integration -run TestAlertmanagerIntegration ./cmd/agentrail
