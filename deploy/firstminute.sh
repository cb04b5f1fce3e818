#!/usr/bin/env bash
# Measures the first minute as somebody new has it: a fresh clone, empty caches
# of Go, npm and agentrail, an empty home. Runs `make up` until the day is
# played and search is there, then `make up` once more. Prints the seconds and
# records what was printed in docs/first-minute.txt (or the file named).
#
#   deploy/firstminute.sh [RECORDING]
set -euo pipefail
cd "$(dirname "$0")/.."
recording=${1:-$PWD/docs/first-minute.txt}
work=$(mktemp -d)
pid=
cleanup() {
	[ -z "$pid" ] || kill -INT "$pid" 2>/dev/null || true
	chmod -R u+w "$work" && rm -rf "$work" # Go writes its modules read-only
}
trap cleanup EXIT

git clone -q --no-hardlinks . "$work/agentrail"
# Where things are fetched from stays as it is; what was fetched does not count.
for name in GOPROXY GOSUMDB GONOSUMDB GOFLAGS GOTOOLCHAIN; do
	export "$name=$(go env "$name")"
done
export NPM_CONFIG_USERCONFIG=${NPM_CONFIG_USERCONFIG:-$HOME/.npmrc}
export HOME=$work/home GOPATH=$work/go GOCACHE=$work/gocache GOMODCACHE=$work/gomod GOENV=off
export XDG_CACHE_HOME=$work/cache XDG_CONFIG_HOME=$work/config npm_config_cache=$work/npm
mkdir -p "$HOME"
cd "$work/agentrail"

began=0
since() { awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

# run stamps each line of `make up` with the seconds since it was typed, notes
# the first line of each kind, and ends it when all of "$@" were seen.
declare -A at
run() {
	local line skipped=0 name left
	at=()
	began=$EPOCHREALTIME
	while IFS= read -r line; do
		case $line in
		"go: downloading "*) skipped=$((skipped + 1)); continue ;;
		"folder "*) : "${at[built]:=$(since)}" ;;
		*" -> "*"alerts show"*) : "${at[alert]:=$(since)}" ;;
		"search     ready"*) : "${at[search]:=$(since)}" ;;
		"search     off"*) : "${at[search]:=none}" ;;
		"ready "*) : "${at[ready]:=$(since)}" ;;
		esac
		[ "$skipped" = 0 ] || printf '%7s  (%d modules downloaded)\n' "$(since)" "$skipped"
		skipped=0
		printf '%7s  %s\n' "$(since)" "${line//"$work"\//}"
		left=0
		for name; do [ -n "${at[$name]:-}" ] || left=1; done
		if [ "$left" = 0 ] && [ -z "${at[ended]:-}" ]; then
			at[ended]=$(since)
			pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' data/running.json)
			kill -INT "$pid"
			pid=
		fi
	done < <(make up UPFLAGS="--listen 127.0.0.1:0" 2>&1)
}

mkdir -p "$(dirname "$recording")"
run built alert search ready >"$work/first.txt"
for name in built alert search ready; do declare "first_$name=${at[$name]:-never}"; done
run built ready >"$work/second.txt"
{
	echo "The first minute, recorded by deploy/firstminute.sh on $(nproc) cores under a load of $(cut -d" " -f1 /proc/loadavg), $(date -u +%F)."
	echo "Fresh clone, empty caches. Seconds since make up was typed, then what it printed without a terminal."
	echo
	cat "$work/first.txt"
	echo
	echo "Ended with Ctrl-C as soon as the day was played and search was there. The same again:"
	echo
	cat "$work/second.txt"
} >"$recording"
cat <<END
seconds since make up was typed, fresh clone, empty caches, $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)
  built, started         $first_built
  first alert            $first_alert
  search ready           $first_search
  day played, live       $first_ready
second make up
  built, started         ${at[built]:-never}
  live                   ${at[ready]:-never}
END
[ "$first_alert" != never ] && [ "$first_ready" != never ] && [ -n "${at[ready]:-}" ]
