#!/bin/sh
# Runs pytest so that nothing is written outside of build/.
python=$(sh tests/setup.sh python) || {
    echo "no Python with pytest and hypothesis; 'make test' says how to get one" >&2
    exit 1
}
mkdir -p build
# The tests wait more than they compute, so four at a time for each processor do well.
if "$python" -B -c 'import xdist' 2>/dev/null; then
    workers=$(($(nproc) * 4))
    parallel="-n $((workers > 16 ? 16 : workers))"
fi
PYTHONDONTWRITEBYTECODE=1 HYPOTHESIS_STORAGE_DIRECTORY=build/hypothesis \
    exec "$python" -m pytest -q $parallel --basetemp="build/pytest" "$@"
