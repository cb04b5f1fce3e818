#!/usr/bin/env bash
# The sink elastic against a real OpenSearch node: a data stream, read back by
# count and content; what its mapping refuses is named as dead letters. Ends with
# 3 and a reason if the node cannot be had here.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=2.19.6
jars=$PWD/.cache/opensearch-$version

without() { echo "NOT RUN: $*"; exit 3; }
for tool in java mvn setpriv; do
  command -v "$tool" >/dev/null || without "$tool is not installed (a JDK 17, Maven and util-linux are needed)"
done
if ! (cd "$jars" 2>/dev/null && sha256sum --quiet --check) <deploy/integration/opensearch/sha256; then
  rm -rf "$jars"
  mvn -q -B --strict-checksums -f deploy/integration/opensearch/pom.xml dependency:copy-dependencies -DoutputDirectory="$jars" || without "Maven cannot bring OpenSearch $version"
  (cd "$jars" && sha256sum --quiet --check) <deploy/integration/opensearch/sha256
fi

dir=$(mktemp -d)
node=
end() {
  # shellcheck disable=SC2086 # one process id or nothing
  kill -9 $node 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap end EXIT

# The folder of a distribution: lib, and the HTTP module with its own libraries,
# its descriptor and what the security manager allows it.
module=$dir/modules/transport-netty4
mkdir -p "$dir/lib" "$dir/config" "$dir/logs" "$dir/tmp" "$module"
cp "$jars"/*.jar "$dir/lib"
mv "$dir"/lib/netty-*.jar "$dir"/lib/transport-netty4-client-*.jar "$module"
cat >"$module/plugin-descriptor.properties" <<CONF
name=transport-netty4
description=HTTP and transport by Netty
version=$version
opensearch.version=$version
java.version=11
classname=org.opensearch.transport.Netty4Plugin
CONF
cat >"$module/plugin-security.policy" <<'CONF'
grant codeBase "${codebase.netty-common}" {
  permission java.io.FilePermission "/proc/sys/net/core/somaxconn", "read";
  permission java.net.SocketPermission "*", "accept,connect";
  permission java.lang.RuntimePermission "setContextClassLoader";
  permission java.lang.RuntimePermission "getClassLoader";
};
grant codeBase "${codebase.netty-transport}" {
  permission java.net.SocketPermission "*", "accept,connect";
  permission java.util.PropertyPermission "sun.nio.ch.bugLevel", "write";
};
CONF
cat >"$dir/config/opensearch.yml" <<CONF
discovery.type: single-node
network.host: 127.0.0.1
http.port: 0
transport.port: 0
path.data: $dir/data
path.logs: $dir/logs
cluster.routing.allocation.disk.threshold_enabled: false
CONF
cat >"$dir/config/log4j2.properties" <<'CONF'
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1} %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
CONF

as=() # OpenSearch refuses to run as root
if [ "$(id -u)" = 0 ]; then
  as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
  chown -R nobody:nogroup "$dir"
fi
(cd "$dir" && exec "${as[@]}" java -Xms512m -Xmx512m -Djava.security.manager=allow -Djava.io.tmpdir="$dir/tmp" -Dopensearch.path.home="$dir" \
  -Dopensearch.path.conf="$dir/config" -Dopensearch.distribution.type=tar -cp "$dir/lib/*" org.opensearch.bootstrap.OpenSearch) >"$dir/node.log" 2>&1 &
node=$!
last=$((SECONDS + 120))
until address=$(grep -m 1 'HttpServerTransport publish_address' "$dir/node.log" | grep -o '127\.0\.0\.1:[0-9]*' | head -n 1) && [ -n "$address" ]; do
  if ! kill -0 $node 2>/dev/null || ((SECONDS >= last)); then
    tail -n 40 "$dir/node.log"
    echo "FAILED: the node did not start"
    exit 1
  fi
  sleep 0.3
done
AGENTRAIL_OPENSEARCH=http://$address go test -timeout 2m -count=1 -v -tags integration -run TestElasticIntoOpenSearch ./sinks
