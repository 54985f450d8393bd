#!/usr/bin/env bash
# Put promtool, of Debian's package `prometheus`, where the tests find it; print its path. Installs nothing: the package
# is fetched and unpacked outside the tree, about 50 MB. Runs at the same time wait for each other.
set -euo pipefail

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/hearth
if command -v promtool; then exit 0; fi
if [[ -x $CACHE/promtool ]]; then echo "$CACHE/promtool"; exit 0; fi
mkdir -p "$CACHE"
exec 9>"$CACHE/promtool.lock"
flock 9
if [[ -x $CACHE/promtool ]]; then echo "$CACHE/promtool"; exit 0; fi
command -v apt-get >/dev/null || { echo "there is no promtool, and no apt-get to fetch it with" >&2; exit 1; }

unfinished=$(mktemp -d "$CACHE/promtool-unfinished.XXXXXX")
trap 'rm -rf "$unfinished"' EXIT
cd "$unfinished"
apt-get download -qq prometheus >&2 || { apt-get update -qq >&2 && apt-get download -qq prometheus >&2; }
dpkg-deb --extract prometheus_*.deb unpacked
mv unpacked/usr/bin/promtool "$CACHE/promtool"
echo "$CACHE/promtool"
