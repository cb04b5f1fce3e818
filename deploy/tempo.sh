#!/usr/bin/env bash
# Runs a command beside a Grafana Tempo, which is built here and is a process of
# its own (AGPL: it is never linked), and tells the command where it is:
# deploy/tempo.sh FOLDER COMMAND... is COMMAND... --tempo URL --tempo-push URL.
# The first build takes some minutes; the binary is kept in .cache/bin.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$1
shift
version=$(cd sinks/sinktest/tempo && go list -m -f '{{.Version}}' github.com/grafana/tempo)
tempo=$PWD/.cache/bin/tempo-$version
if [ ! -x "$tempo" ]; then
	echo "building Grafana Tempo $version; this takes some minutes, once" >&2
	mkdir -p .cache/bin
	(cd sinks/sinktest/tempo && go build -o "$tempo" github.com/grafana/tempo/cmd/tempo)
fi

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
cat >"$dir/tempo.yaml" <<YAML
server: {http_listen_address: 127.0.0.1, http_listen_port: 3200, grpc_listen_address: 127.0.0.1, grpc_listen_port: 3201, log_level: warn}
distributor:
  receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:14318"}}}}
  ring: {kvstore: {store: inmemory}}
ingester:
  trace_idle_period: 1s
  flush_check_period: 1s
  lifecycler: {ring: {kvstore: {store: inmemory}, replication_factor: 1}}
compactor: {ring: {kvstore: {store: inmemory}, wait_stability_min_duration: 0s}}
storage: {trace: {backend: local, wal: {path: "$dir/wal"}, local: {path: "$dir/blocks"}}}
usage_report: {reporting_enabled: false}
YAML
"$tempo" -config.file="$dir/tempo.yaml" >"$dir/tempo.log" 2>&1 &
pid=$!
trap 'kill -INT $pid 2>/dev/null; for _ in 1 2 3 4 5 6; do kill -0 $pid 2>/dev/null || exit; sleep 0.5; done; kill -9 $pid 2>/dev/null' EXIT
echo "tempo      http://127.0.0.1:3200   process $pid, log in $dir/tempo.log"
"$@" --tempo http://127.0.0.1:3200 --tempo-push http://127.0.0.1:14318
