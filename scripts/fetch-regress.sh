#!/bin/sh
# Fetches PostgreSQL's regression tests (Debian's source package of the installed release's
# PostgreSQL) into the folder DIR: sql/, data/ and the schedule; does nothing where they are there.
# Leaves apt's own lists alone.
#
#   scripts/fetch-regress.sh DIR
set -eu

dir=$(mkdir -p "$1" && cd "$1" && pwd)
[ ! -f "$dir/parallel_schedule" ] || exit 0
. /etc/os-release
case $VERSION_CODENAME in
bookworm) package=postgresql-15 ;;
trixie) package=postgresql-17 ;;
*) echo "fetch-regress.sh: $VERSION_CODENAME: Debian 12 or 13 is needed" >&2; exit 1 ;;
esac
mkdir -p "$dir/apt/lists/partial" "$dir/sql"
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
	"http://deb.debian.org/debian $VERSION_CODENAME main" > "$dir/apt/sources.list"
cd "$dir/apt"
set -- -q -o "Dir::Etc::sourcelist=$dir/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
	-o "Dir::State::lists=$dir/apt/lists" -o "Dir::Cache=$dir/apt" -o APT::Sandbox::User=root
apt-get "$@" update > apt.log
apt-get "$@" source --download-only "$package" >> apt.log
tar -xf "$package"_*.orig.tar.bz2 --wildcards --strip-components=4 -C "$dir" \
	'*/src/test/regress/sql/*.sql' '*/src/test/regress/data/*' '*/src/test/regress/parallel_schedule'
rm -rf "$dir/apt"
