#!/usr/bin/env bash
# Starts everything in a new folder, plays the sample day and ends; the exit
# code says whether every planted incident was found and every twin was quiet.
# A second start in the same folder must go on with what is there.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x bin/agentrail ] || make build
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bin/agentrail up --once --data "$dir" --listen 127.0.0.1:0
bin/agentrail up --once --data "$dir" --listen 127.0.0.1:0
bin/agentrail log check --data "$dir/data"
bin/agentrail verify --data "$dir/data" --key "$dir/config/head.key.pub"
