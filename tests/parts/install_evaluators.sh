#!/usr/bin/env bash
# Print the Python of a virtual environment that has obp and scikit-uplift, to hold our estimators against; make it once.
#
# Outside the tree, about 500 MB, from the package index that pip is configured for. obp is installed without what it
# asks for: of its estimators the tests use those that need none of it (torch alone would be 800 MB).
# Runs at the same time wait for each other.
set -euo pipefail

OBP=0.4.1
SCIKIT_UPLIFT=0.5.1
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/hearth
FOLDER=$CACHE/evaluators-$OBP-$SCIKIT_UPLIFT

print_installed() { [[ -f $FOLDER/complete ]] && echo "$FOLDER/bin/python"; }

if print_installed; then exit 0; fi
mkdir -p "$CACHE"
exec 9>"$CACHE/evaluators.lock"
flock 9
if print_installed; then exit 0; fi
rm -rf "$FOLDER"
"${PYTHON:-python3}" -m venv "$FOLDER" >&2
pip=("$FOLDER/bin/python" -m pip install --quiet --disable-pip-version-check)
if ! "${pip[@]}" --no-deps "obp==$OBP" "scikit-uplift==$SCIKIT_UPLIFT" >&2 ||
    ! "${pip[@]}" "scikit-learn<1.10" pandas numpy scipy tqdm matplotlib requests >&2; then
    rm -rf "$FOLDER"
    echo "obp and scikit-uplift cannot be had from the package index" >&2
    exit 1
fi
touch "$FOLDER/complete"
print_installed
