#!/usr/bin/env bash
# Write requirements/*.txt anew from the ranges in pyproject.toml: every file, pinned and hashed, for every Python and
# machine the project supports. Arguments go to uv, such as --upgrade or --upgrade-package NAME.
#
# No address of an index may end up in them: whoever installs decides where packages come from.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() {
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" "$@"
}

mkdir -p requirements
# with the extras: who runs from a checkout or an image should not have to choose
compile pyproject.toml --all-extras --output-file requirements/runtime.txt "$@"
compile --group build --constraints requirements/runtime.txt --output-file requirements/build.txt "$@"
compile --group dev --constraints requirements/runtime.txt --constraints requirements/build.txt \
    --output-file requirements/dev.txt "$@"

if grep -n '://' requirements/*.txt; then
    echo "lock: an address is in the lock (see above); remove it before committing" >&2
    exit 1
fi
