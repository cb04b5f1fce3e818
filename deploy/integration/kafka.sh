#!/usr/bin/env bash
# The source and the sink kafka against a real Apache Kafka and a client that we
# did not write (kcat): a sample day in two topics, while serve is killed twice
# and the broker once. What the journal accepted must be what was produced,
# record for record, and the sink's topic must hold each event that was
# accepted. Ends with 3 and a reason if Kafka or kcat cannot be had here.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=4.1.1
jars=$PWD/.cache/kafka-$version
bin=$PWD/bin/agentrail

without() { echo "NOT RUN: $*"; exit 3; }
for tool in java mvn python3; do
  command -v "$tool" >/dev/null || without "$tool is not installed (a JDK 17, Maven and python3 are needed)"
done
[ -x "$bin" ] || make build
if ! command -v kcat >/dev/null; then
  { apt-get update && apt-get install -y kcat; } >/dev/null 2>&1 || without "kcat is not installed and apt-get cannot bring it"
fi
if ! (cd "$jars" 2>/dev/null && sha256sum --quiet --check) <deploy/integration/kafka/sha256; then
  rm -rf "$jars"
  mvn -q -B --strict-checksums -f deploy/integration/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory="$jars" || without "Maven cannot bring Kafka $version"
  (cd "$jars" && sha256sum --quiet --check) <deploy/integration/kafka/sha256
fi

dir=$(mktemp -d)
broker= server=
end() {
  # shellcheck disable=SC2086 # each is one process id or nothing
  kill -9 $broker $server 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap end EXIT

# fail MESSAGE
fail() {
  echo "FAILED: $*"
  tail -n 20 "$dir/serve.log" "$dir/broker.log" 2>/dev/null || true
  exit 1
}

# until_true SECONDS WHAT COMMAND...
until_true() {
  local last=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < last)) || fail "not in time: $what"
    sleep 0.2
  done
}

free_port() {
  local p
  while p=$((20000 + RANDOM % 20000)); (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; do :; done
  echo "$p"
}

port=$(free_port) controller=$(free_port) http=$(free_port)
cat >"$dir/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
log.dirs=$dir/kafka
num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
CONF
kafka() { java -Xmx384m -cp "$jars/*" "$@"; }
kafka kafka.tools.StorageTool format -t "$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d =)" -c "$dir/server.properties" >"$dir/broker.log" 2>&1 || fail "the broker's folder was not made"

start_broker() {
  java -Xmx384m -cp "$jars/*" kafka.Kafka "$dir/server.properties" >>"$dir/broker.log" 2>&1 &
  broker=$!
  until_true 60 "broker" kcat -q -L -b "127.0.0.1:$port" -m 2 >/dev/null 2>&1
}
start_serve() {
  "$bin" serve --config "$dir/agentrail.yaml" >>"$dir/serve.log" 2>&1 &
  server=$!
}
kill_it() { kill -9 "$1"; wait "$1" 2>/dev/null || true; }

# send TOPIC CODEC FIRST COUNT: lines of the sample as records.
send() { sed -n "$3,$(($3 + $4 - 1))p" "$dir/$1.ndjson" | kcat -P -q -b "127.0.0.1:$port" -t "$1" -z "$2" -X acks=all; }
forwarded() { wc -l 2>/dev/null <"$dir/archive.ndjson" || echo 0; }
has() { (($(forwarded) >= $1)); }
has_all() { has "$1" && (($(cut -c1-64 "$dir/archive.ndjson" | sort -u | wc -l) >= $1)); } # a sink may repeat lines after a kill

"$bin" sample "$dir" --end 2026-11-20T18:00:00Z >/dev/null
audit=$(wc -l <"$dir/audit.ndjson") runs=$(wc -l <"$dir/workflowrun.ndjson")
third=$((audit / 3))
events=$(($(sort -u "$dir/audit.ndjson" | wc -l) + $(sort -u "$dir/workflowrun.ndjson" | wc -l))) # the day sends some twice
"$bin" token new --file "$dir/tokens.yaml" --name test --roles viewer >/dev/null
cat >"$dir/agentrail.yaml" <<CONF
version: 1
data: $dir/data
listen: 127.0.0.1:$http
auth: {tokens: $dir/tokens.yaml}
evidence: {key: $dir/head.key}
journal: {reserve: 16MiB, segment_bytes: 8MiB}
store: {kind: none}
detectors: []
sources:
  - {kind: kafka, name: api, brokers: ["127.0.0.1:$port"], topics: [audit], group: api, batch: 64KiB, session_timeout: 6s}
  - {kind: kafka, name: runs, brokers: ["127.0.0.1:$port"], topics: [workflowrun], group: runs, mapping: workflowrun, session_timeout: 6s}
sinks:
  - {kind: file, name: archive, path: $dir/archive.ndjson, from: start, classes: [activity]}
  - {kind: kafka, name: out, brokers: ["127.0.0.1:$port"], topic: events, from: start, classes: [activity], timeout: 5s}
CONF

start_broker
has_topic() { kcat -q -L -b "127.0.0.1:$port" -t events -X allow.auto.create.topics=true | grep -q 'with 3 partitions'; }
until_true 60 "the sink's topic" has_topic
send audit zstd 1 $third
start_serve
until_true 60 "first records" has 1
kill_it "$server"
echo "serve killed after $(forwarded) forwarded records"
send audit lz4 $((third + 1)) $third
send workflowrun gzip 1 "$runs"
start_serve
until_true 120 "records after the kill" has $((third - 200))
kill_it "$broker"
echo "broker killed after $(forwarded) forwarded records"
start_broker
send audit snappy $((2 * third + 1)) "$audit"
until_true 120 "records after the broker's restart" has $((2 * third))
kill_it "$server"
echo "serve killed after $(forwarded) forwarded records"
start_serve
until_true 180 "all $events events" has_all "$events"
# copied reads the sink's topic from its start, one line a record: partition, key, headers, value.
copied() { kcat -C -q -e -b "127.0.0.1:$port" -t events -o beginning -f '%p\t%k\t%h\t%s\n' >"$dir/copied.tsv"; }
copied_all() { copied && (($(cut -f3 "$dir/copied.tsv" | sort -u | wc -l) >= $1)); }
until_true 120 "all $events events in the sink's topic" copied_all "$events"
kill "$server"
wait "$server" || fail "serve did not end well"
server=

# The evidence: each line that was produced is there, byte for byte, and counts once.
"$bin" log dump --data "$dir/data" | python3 -c '
import collections, hashlib, json, sys
made, kept, twice, bad, own = set(), collections.Counter(), 0, 0, False
for name in ("audit", "workflowrun"):
    with open(f"{sys.argv[1]}/{name}.ndjson", "rb") as f:
        made.update(hashlib.sha256(line.rstrip(b"\n")).hexdigest() for line in f)
for line in sys.stdin:
    d = json.loads(line)
    if d["type"] != "record":
        own = d.get("class") != "activity"
    elif not own:
        flags = d.get("flags", [])
        if "rejected" in flags:
            bad += 1
        elif "duplicate" in flags:
            twice += 1
        else:
            kept[d["digest"]] += 1
lost, more = len(made - kept.keys()), sum(kept.values()) - len(made)
print(f"{len(made)} distinct records produced, {sum(kept.values())} accepted; {twice} flagged as duplicates, {bad} rejected; lost {lost}, too many {more}")
sys.exit(lost != 0 or more != 0 or bad != 0)
' "$dir" || fail "the journal does not hold what was produced"
# The sink: each accepted event is in the topic, whole, under its own key in one partition.
python3 -c '
import json, sys
want = {json.loads(line)["event_id"]: line.rstrip(b"\n") for line in open(f"{sys.argv[1]}/archive.ndjson", "rb")}
got, homes, twice, bad = {}, {}, 0, 0
for line in open(f"{sys.argv[1]}/copied.tsv", "rb"):
    partition, key, headers, value = line.rstrip(b"\n").split(b"\t", 3)
    h = dict(x.split(b"=", 1) for x in headers.split(b","))
    ev = json.loads(value)
    homes.setdefault(key, set()).add(partition)
    twice += ev["event_id"] in got
    got[ev["event_id"]] = value
    place = "{shard}/{offset}/{index}".format(**ev)
    bad += h[b"event_id"].decode() != ev["event_id"] or place != h[b"seq"].decode() or h[b"content-type"] != b"application/json"
lost, other, split = len(want.keys() - got.keys()), sum(want.get(k) != v for k, v in got.items()), sum(len(p) > 1 for p in homes.values())
print(f"{len(got)} events in the topic under {len(homes)} keys, {twice} records more after kills; lost {lost}, other than in the file {other}, keys in two partitions {split}, wrong headers {bad}")
sys.exit(lost != 0 or other != 0 or split != 0 or bad != 0)
' "$dir" || fail "the topic of the sink does not hold what was accepted"
"$bin" log check --data "$dir/data" >/dev/null || fail "log check"
if grep -q "source.gap\|source.reset" "$dir/serve.log"; then fail "a gap was told where there is none"; fi
