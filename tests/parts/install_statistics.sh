#!/usr/bin/env bash
# Print the Python of a virtual environment that has tea-tasting and statsmodels, to hold our differences against; make it once.
#
# Outside the tree, about 400 MB, from the package index that pip is configured for: they bring pandas and ibis, which is
# why Hearth itself does without them. Runs at the same time wait for each other.
set -euo pipefail

TEA_TASTING=1.14.0
STATSMODELS=0.15.0
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/hearth
FOLDER=$CACHE/statistics-$TEA_TASTING-$STATSMODELS

print_installed() { [[ -f $FOLDER/complete ]] && echo "$FOLDER/bin/python"; }

if print_installed; then exit 0; fi
mkdir -p "$CACHE"
exec 9>"$CACHE/statistics.lock"
flock 9
if print_installed; then exit 0; fi
rm -rf "$FOLDER"
"${PYTHON:-python3}" -m venv "$FOLDER" >&2
pip=("$FOLDER/bin/python" -m pip install --quiet --disable-pip-version-check)
if ! "${pip[@]}" "tea-tasting==$TEA_TASTING" "statsmodels==$STATSMODELS" >&2; then
    rm -rf "$FOLDER"
    echo "tea-tasting and statsmodels cannot be had from the package index" >&2
    exit 1
fi
touch "$FOLDER/complete"
print_installed
