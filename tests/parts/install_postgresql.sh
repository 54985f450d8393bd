#!/usr/bin/env bash
# Print the folder of a real PostgreSQL server's programs; install Debian's package when it is missing and we are root.
#
# Only the programs: the cluster that the package makes by itself is not, nothing is started, no port opened.
# Runs at the same time wait for each other.
set -euo pipefail

print_installed() {
    local folders
    folders=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tac)
    for folder in $folders; do
        if [[ -x $folder/initdb && -x $folder/postgres ]]; then
            echo "$folder"
            return 0
        fi
    done
    return 1
}

if print_installed; then exit 0; fi
if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
    echo "PostgreSQL's server is missing, and only root can install it (apt-get install postgresql)" >&2
    exit 1
fi
exec 9>"${TMPDIR:-/tmp}/hearth-install-postgresql.lock"
flock 9
if print_installed; then exit 0; fi
mkdir -p /etc/postgresql-common/createcluster.d
echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/hearth.conf
apt-get update -qq >&2
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >&2
print_installed
