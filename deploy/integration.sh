#!/usr/bin/env bash
# Runs Agentrail against programs that we did not write. Fetches and builds what
# it needs into .cache, prints a table of what ran and what did not and why, and
# exits 1 when something failed or could not be had.
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
cache=$root/.cache
mkdir -p "$cache/bin" "$cache/log"
rows=()
failed=0

# row NAME RESULT DETAIL
row() {
  rows+=("$(printf '%-34s %-8s %s' "$1" "$2" "$3")")
  [ "$2" = ok ] || failed=1
}

# check NAME LOG COMMAND...: runs it and notes how it went.
check() {
  local name=$1 log=$cache/log/$2 began=$SECONDS
  shift 2
  printf '... %s\n' "$name"
  if "$@" >"$log" 2>&1 && ! grep -q 'no tests to run' "$log"; then
    row "$name" ok "$((SECONDS - began)) s"
  elif reason=$(grep -m 1 '^NOT RUN: ' "$log"); then
    row "$name" "NOT RUN" "${reason#NOT RUN: }"
  else
    row "$name" FAILED "see $log"
    tail -n 30 "$log"
  fi
}

victorialogs() {
  local out=$cache/bin/victoria-logs
  if [ ! -x "$out" ]; then
    (cd sinks/sinktest/victorialogs && go build -o "$out" github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs) >"$cache/log/victorialogs-build.log" 2>&1 || return 1
  fi
  echo "$out"
}

if vl=$(victorialogs); then
  check "splunk sink -> VictoriaLogs" splunk.log \
    env AGENTRAIL_VICTORIALOGS="$vl" go test -count=1 -v -tags integration -run SplunkIntoVictoriaLogs ./sinks
  check "elastic sink -> VictoriaLogs" elastic.log \
    env AGENTRAIL_VICTORIALOGS="$vl" go test -count=1 -v -tags integration -run ElasticIntoVictoriaLogs ./sinks
  check "otlp sink -> VictoriaLogs" otlp.log \
    env AGENTRAIL_VICTORIALOGS="$vl" go test -count=1 -v -tags integration -run OTLPIntoVictoriaLogs ./sinks
  check "cef -> VictoriaLogs" cef.log \
    env AGENTRAIL_VICTORIALOGS="$vl" go test -count=1 -v -tags integration -run ReadByVictoriaLogs ./sinks/format
else
  row "splunk, elastic, otlp, cef -> VictoriaLogs" "NOT RUN" "VictoriaLogs did not build; see $cache/log/victorialogs-build.log"
  tail -n 20 "$cache/log/victorialogs-build.log"
fi

# lognormalizer is there, or may be installed.
lognormalizer() {
  command -v lognormalizer && return
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  (apt-get update && apt-get install -y --no-install-recommends liblognorm-utils) >"$cache/log/lognorm-install.log" 2>&1 && command -v lognormalizer
}

if lognormalizer >/dev/null; then
  check "cef, leef -> liblognorm" lognorm.log \
    go test -count=1 -v -tags integration -run ReadByLiblognorm ./sinks/format
else
  row "cef, leef -> liblognorm" "NOT RUN" "no lognormalizer, and it cannot be installed: apt-get install liblognorm-utils as root"
fi

# JSONTestSuite has no release: the module proxy serves its last commit.
suite=$(go mod download -json github.com/nst/JSONTestSuite@v0.0.0-20241122125541-1ef36fa01286 2>"$cache/log/jsontestsuite.log" |
  sed -n 's/^.*"Dir": "\(.*\)",$/\1/p')
if [ -n "$suite" ]; then
  check "scanner <- nst/JSONTestSuite" jsontestsuite.log \
    env AGENTRAIL_JSONTESTSUITE="$suite/test_parsing" go test -count=1 -v -tags integration -run JSONTestSuite ./internal/jsonscan
else
  row "scanner <- nst/JSONTestSuite" "NOT RUN" "it could not be fetched; see $cache/log/jsontestsuite.log"
fi

# chromium prints its path; where it is missing and may be installed, it is.
chromium() {
  command -v chromium || command -v chromium-browser || command -v google-chrome && return
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  (apt-get update && apt-get install -y --no-install-recommends chromium) >"$cache/log/chromium.log" 2>&1 && command -v chromium
}

if chromium >/dev/null; then
  check "page in a real Chromium" page.log \
    go test -count=1 -tags integration -run 'TestPage$' ./cmd/agentrail
  if npm install --silent --no-save --prefix "$cache/axe" axe-core@4.14.1 >"$cache/log/axe.log" 2>&1; then
    check "pages in a real Chromium, axe-core" flow.log \
      env AGENTRAIL_AXE="$cache/axe/node_modules/axe-core/axe.min.js" go test -count=1 -tags integration -run TestPageFlow ./cmd/agentrail
  else
    row "pages in a real Chromium, axe-core" "NOT RUN" "axe-core cannot be fetched by npm; see $cache/log/axe.log"
  fi
else
  row "page in a real Chromium" "NOT RUN" "no Chromium, and it cannot be installed: apt-get install chromium as root"
fi

check "kafka source, sink: Apache Kafka, kcat" kafka.log \
  "$root/deploy/integration/kafka.sh"

check "elastic sink -> OpenSearch" opensearch.log \
  "$root/deploy/integration/opensearch.sh"

check "otlp sink -> OpenTelemetry Collector" otelcol.log \
  "$root/deploy/integration/otelcol.sh"

check "syslog sink -> rsyslog, TLS" rsyslog.log \
  "$root/deploy/integration/syslog.sh" rsyslog
check "syslog sink -> syslog-ng, TLS" syslog-ng.log \
  "$root/deploy/integration/syslog.sh" syslog-ng

check "s3 sink, s3 source, MinIO" s3.log \
  "$root/deploy/integration/s3.sh"

check "telemetrygen -> traces -> Tempo -> traces" tempo.log \
  "$root/deploy/integration/tempo.sh"

check "gate -> official MCP servers" mcp.log \
  "$root/deploy/integration/mcp.sh"

check "alerts -> Debian's Alertmanager, amtool" alerting.log \
  "$root/deploy/integration/alerting.sh"

check "rules, dashboards -> Debian's Prometheus" prometheus.log \
  "$root/deploy/integration/prometheus.sh"

check "systemd units -> systemd-analyze" units.log \
  "$root/deploy/integration/units.sh"
# Containers are not among what every machine of this kind can have.
if docker compose version >/dev/null 2>&1; then
  check "compose.yaml -> docker compose" compose.log "$root/deploy/integration/compose.sh"
else
  rows+=("$(printf '%-34s %-8s %s' "compose.yaml -> docker compose" "NOT RUN" "no docker here; its files are held by TestCompose")")
fi

check "up --once: the sample day" up.log \
  "$root/deploy/smoke.sh"

printf '\n%-34s %-8s %s\n' WHAT RESULT DETAIL
printf '%s\n' "${rows[@]}"
exit $failed
