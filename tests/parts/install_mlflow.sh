#!/usr/bin/env bash
# Print the Python of a virtual environment that has a whole MLflow, server and all; make it once.
#
# Outside the tree, about 700 MB, from the package index that pip is configured for. Runs at the same time wait for each
# other.
set -euo pipefail

MLFLOW=3.17.2
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/hearth
FOLDER=$CACHE/mlflow-$MLFLOW

print_installed() { [[ -f $FOLDER/complete ]] && echo "$FOLDER/bin/python"; }

if print_installed; then exit 0; fi
mkdir -p "$CACHE"
exec 9>"$CACHE/mlflow.lock"
flock 9
if print_installed; then exit 0; fi
rm -rf "$FOLDER"
"${PYTHON:-python3}" -m venv "$FOLDER" >&2
if ! "$FOLDER/bin/python" -m pip install --quiet --disable-pip-version-check "mlflow==$MLFLOW" >&2; then
    rm -rf "$FOLDER"
    echo "mlflow $MLFLOW cannot be had from the package index" >&2
    exit 1
fi
touch "$FOLDER/complete"
print_installed
