#!/usr/bin/env bash
# The sink syslog against rsyslog and syslog-ng, TLS with client certificates
# and octet counting: syslog.sh rsyslog|syslog-ng. The packages are unpacked,
# not installed: the two exclude each other, and no service is started. Ends
# with 3 and a reason if they cannot be had here.
set -euo pipefail
cd "$(dirname "$0")/../.."
kind=$1
case $kind in
  rsyslog) packages="rsyslog rsyslog-openssl libestr0 libfastjson4 liblognorm5" test=TestSyslogIntoRsyslog ;;
  syslog-ng) packages="syslog-ng-core libivykis0 libnet1 libpcre3 libwrap0 libjson-c5" test=TestSyslogIntoSyslogNG ;;
  *) echo "usage: $0 rsyslog|syslog-ng" && exit 2 ;;
esac

without() { echo "NOT RUN: $*"; exit 3; }
for tool in apt-get dpkg; do
  command -v "$tool" >/dev/null || without "$tool is not here; the receiver comes as Debian's packages"
done
root=$PWD/.cache/$kind
if ! [ -e "$root/unpacked" ]; then
  rm -rf "$root" && mkdir -p "$root/deb"
  # shellcheck disable=SC2086 # several packages
  (cd "$root/deb" && { apt-get download $packages || { apt-get update && apt-get download $packages; }; }) >&2 ||
    without "apt-get cannot bring $packages"
  for deb in "$root"/deb/*.deb; do dpkg -x "$deb" "$root"; done
  touch "$root/unpacked"
fi
libs=$(dirname "$(find "$root/usr/lib" -name 'libestr.so.0' -o -name 'libivykis.so.0' | head -n 1)")
binary=$(find "$root/usr/sbin" -name rsyslogd -o -name syslog-ng)
missing=$(LD_LIBRARY_PATH=$libs:$root/lib/$(basename "$libs"):$root/usr/lib/syslog-ng ldd "$binary" | awk '/not found/ {print $1}')
[ -z "$missing" ] || without "$kind wants libraries that are not here: $missing"
AGENTRAIL_SYSLOG=$root AGENTRAIL_SYSLOG_LIBS=$libs \
  go test -timeout 2m -count=1 -v -tags integration -run "$test" ./sinks
