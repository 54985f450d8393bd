#!/usr/bin/env bash
# Print the path of libfaketime, which gives a process another wall clock; install Debian's package when we are root.
set -euo pipefail

print_installed() {
    local found
    found=$(find /usr/lib /usr/local/lib -name libfaketimeMT.so.1 -print -quit 2>/dev/null)
    [[ -n $found ]] && echo "$found"
}

if print_installed; then exit 0; fi
if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
    echo "libfaketime is missing, and only root can install it (apt-get install faketime)" >&2
    exit 1
fi
exec 9>"${TMPDIR:-/tmp}/hearth-install-faketime.lock"
flock 9
if print_installed; then exit 0; fi
apt-get update -qq >&2
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libfaketime >&2
print_installed
