#!/usr/bin/env bash
# The sink otlp into an OpenTelemetry Collector, a program of its own that is
# built from its module, and out of its file exporter: every event once. Ends
# with 3 and a reason if it cannot be built.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p .cache/bin
version=$(cd deploy/bench/otelcol && go list -m -f '{{.Version}}' go.opentelemetry.io/collector/otelcol)
binary=$PWD/.cache/bin/otelcol-$version
if ! [ -x "$binary" ]; then
  (cd deploy/bench/otelcol && go build -trimpath -o "$binary" .) || { echo "NOT RUN: the OpenTelemetry Collector does not build here"; exit 3; }
fi
AGENTRAIL_OTELCOL=$binary go test -timeout 2m -count=1 -v -tags integration -run TestOTLPIntoCollector ./sinks
