#!/usr/bin/env bash
# The sink and the source s3 against MinIO, built from its Go module as a program of its own:
# it is AGPL and never linked. Ends with 3 and a reason if it cannot be built.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$PWD/.cache/bin/minio
mkdir -p .cache/bin
if ! [ -x "$binary" ]; then
  (cd sinks/sinktest/minio && go build -o "$binary" github.com/minio/minio) || { echo "NOT RUN: MinIO does not build here"; exit 3; }
fi
AGENTRAIL_MINIO=$binary go test -timeout 2m -count=1 -v -tags integration -run 'TestS3IntoMinIO|TestBucketOfMinIO' ./sinks ./collector
