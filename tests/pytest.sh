#!/bin/sh
# Runs pytest so that nothing is written outside of build/.
python=$(sh tests/setup.sh python) || {
    echo "no Python with pytest and hypothesis; 'make test' says how to get one" >&2
    exit 1
}
mkdir -p build
# The tests wait more than they compute, so four at a time do well on two processors.
if "$python" -B -c 'import xdist' 2>/dev/null; then
    parallel="-n 4"
fi
PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY=build/hypothesis \
    exec "$python" -m pytest -q $parallel --basetemp="build/pytest" "$@"
