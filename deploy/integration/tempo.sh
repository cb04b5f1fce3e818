#!/usr/bin/env bash
# Traces from OpenTelemetry's telemetrygen through serve into a real Grafana
# Tempo, and through a Tempo that others write to into serve. Tempo is built
# here and runs as a process of its own (AGPL: it is never linked). The first
# build takes some minutes; it is kept in .cache/bin.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$PWD/.cache/bin
mkdir -p "$bin"

# build MODULE PACKAGE: prints the binary's path, named by the version.
build() {
  local dir=sinks/sinktest/$1 version out
  version=$(cd "$dir" && go list -m -f '{{.Version}}' "$3")
  out=$bin/$1-$version
  [ -x "$out" ] || (cd "$dir" && go build -o "$out" "$2") >&2
  echo "$out"
}
AGENTRAIL_TEMPO=$(build tempo github.com/grafana/tempo/cmd/tempo github.com/grafana/tempo)
contrib=github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen
AGENTRAIL_TELEMETRYGEN=$(build telemetrygen $contrib $contrib)
AGENTRAIL_BINARY=$PWD/bin/agentrail
make build
export AGENTRAIL_TEMPO AGENTRAIL_TELEMETRYGEN AGENTRAIL_BINARY
go test -count=1 -v -tags integration -run "TracesIntoTempo|TracesFromTempo" ./cmd/agentrail
