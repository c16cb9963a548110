#!/bin/sh
# Runs every suite in turn for `make check` and closes with the runners' own counts.
#
#   scripts/check.sh DIR      MAKE, PYTHON and SANITIZER come from the Makefile
#
# A suite's output is shown as it comes and kept in DIR/NAME.log; DIR/steps says how each ended
# (name, kind, exit status, seconds). One that fails does not stop the next.
set -eu

dir=$1
rm -rf "$dir"
mkdir -p "$dir"

# Under `make -jN check` the jobs are the caller's; else one a processor for building.
jobs=
case ${MAKEFLAGS:-} in
*jobserver* | *-j*) ;;
*) jobs=-j$(nproc) ;;
esac

# step NAME KIND MAKE-ARGUMENT...; kinds: build, cmocka, pytest, rules (scripts/summary.py)
step()
{
	name=$1 kind=$2
	shift 2
	echo
	echo "==== $name: make $*"
	start=$(date +%s)
	{
		status=0
		$MAKE --no-print-directory "$@" 2>&1 || status=$?
		echo $status >"$dir/$name.status"
	} | tee "$dir/$name.log"
	read -r status <"$dir/$name.status"
	echo "$name $kind $status $(($(date +%s) - start))" >>"$dir/steps"
}

# suites PREFIX SYSTEM-TARGET MAKE-VARIABLE...
suites()
{
	prefix=$1 system=$2
	shift 2
	step "${prefix}build" build $jobs tests-build "$@"
	step "${prefix}unit" cmocka unit "$@"
	step "${prefix}system" pytest "$system" "$@"
}

if [ -n "${SANITIZER:-}" ]; then
	suites "" system SANITIZER="$SANITIZER"
	step lint rules lint
else
	suites "" system
	step lint rules lint
	step fuzz-build build $jobs fuzz-build
	step fuzz-corpus rules fuzz-corpus
	suites asan- system-core SANITIZER=address,undefined
	suites tsan- system-core SANITIZER=thread
fi

echo
exec "${PYTHON:-/usr/bin/python3}" scripts/summary.py "$dir"
