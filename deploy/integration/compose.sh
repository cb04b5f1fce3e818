#!/usr/bin/env bash
# docker compose reads deploy/compose.yaml as it stands after setup.sh, in a
# copy. Ends with 3 and a reason where there is no docker compose.
set -euo pipefail
cd "$(dirname "$0")/../.."
docker compose version >/dev/null 2>&1 || { echo "NOT RUN: no docker compose here"; exit 3; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/deploy"
cp -r deploy/compose deploy/compose.yaml deploy/Dockerfile "$dir/deploy"
cp -r dashboards "$dir"
AGENTRAIL=$PWD/bin/agentrail "$dir/deploy/compose/setup.sh"
docker compose -f "$dir/deploy/compose.yaml" config --quiet
