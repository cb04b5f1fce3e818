#!/usr/bin/env bash
# Makes what deploy/compose.yaml mounts: tokens, passwords and data folders.
# AGENTRAIL names the program (default: bin/agentrail; make build). What is there
# already is kept.
set -euo pipefail
umask 077
cd "$(dirname "$0")"
agentrail=${AGENTRAIL:-../../bin/agentrail}
mkdir -p secrets/{server,executor,prometheus,grafana} data/{agentrail,executor,tempo,prometheus,grafana} agents
random() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

# token FILE NAME ROLES INTO: a principal of the token file; its token in INTO.
token() {
  [ -s "$4" ] || "$agentrail" token new --file "$1" --name "$2" --roles "$3" >"$4"
}
token secrets/server/tokens.yaml operator ingest,viewer,analyst,admin secrets/operator.token
token secrets/server/tokens.yaml executor ingest,executor secrets/executor/server.token
token secrets/server/tokens.yaml prometheus viewer secrets/prometheus/server.token
token secrets/server/tokens.yaml grafana sql secrets/grafana/sql.token
token secrets/executor/tokens.yaml operator admin,moderator secrets/executor-operator.token
token secrets/executor/tokens.yaml prometheus viewer secrets/prometheus/executor.token
[ -s secrets/grafana/admin.password ] || random >secrets/grafana/admin.password

if [ ! -s secrets/clickhouse.env ]; then
  writer=$(random) reader=$(random)
  printf 'AGENTRAIL_WRITER=%s\nAGENTRAIL_READER=%s\n' "$writer" "$reader" >secrets/clickhouse.env
  printf 'clickhouse://agentrail:%s@clickhouse:9000/agentrail' "$writer" >secrets/server/clickhouse.dsn
  printf 'http://agentrail_reader:%s@clickhouse:8123/agentrail' "$reader" >secrets/server/clickhouse.reader
fi
printf 'AGENTRAIL_UID=%s\nAGENTRAIL_GID=%s\n' "$(id -u)" "$(id -g)" >../.env
echo "ready: docker compose -f deploy/compose.yaml up --build; Grafana's admin password is in deploy/compose/secrets/grafana/admin.password"
