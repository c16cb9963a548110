#!/bin/sh
# Installs with apt what PgUsher's make targets need and this machine lacks; Debian 12 and 13.
#
#   scripts/deps.sh [GROUP]...    groups: build (the default), check, clients, demo, bench
#
# Needs root or sudo only when something is missing; says nothing when nothing is. No service
# is left running by it, and no default database cluster is made: the tests and the demo make
# throw-away clusters of their own, and Debian's would take memory, and PgBouncer's package
# the port that the demo listens on.
set -eu

build="build-essential pkg-config libevent-dev libssl-dev libpq-dev libjwt-dev libinih-dev
	libpg-query-dev libjansson-dev libcurl4-openssl-dev"
# PostgreSQL's extensions have its version in their names: that of the newest one installed, as
# cluster.sh takes it, else the one that the release will bring.
pg=$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | cut -d/ -f5 | sort -n | tail -1)
case ${pg:-$(. /etc/os-release && echo "debian$VERSION_ID")} in
debian12) pg=15 ;;
debian13) pg=17 ;;
debian*) pg=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p') ;;
esac
demo="postgresql postgresql-client openssl postgresql-$pg-partman"
check="$demo postgresql-$pg-pgtap libcmocka-dev python3 python3-pytest python3-psycopg clang libclang-rt-dev
	clang-format clang-tidy cppcheck"
bench="$demo pgbouncer"
# The other languages' toolchains are as large as all of this; their clients are skipped without.
clients="$demo python3-psycopg python3-venv ruby ruby-pg ruby-activerecord php-cli php-pgsql"

usage()
{
	echo "usage: scripts/deps.sh [build|check|clients|demo|bench]..." >&2
	exit 2
}

wanted=
for group in "${@:-build}"; do
	case $group in
	build) wanted="$wanted $build" ;;
	check) wanted="$wanted $build $check" ;;
	demo) wanted="$wanted $build $demo" ;;
	bench) wanted="$wanted $build $bench" ;;
	clients) wanted="$wanted $build $clients" ;;
	*) usage ;;
	esac
done

if ! command -v dpkg-query >/dev/null; then
	echo "deps.sh: this is not Debian; install the equivalents of:" $wanted >&2
	exit 1
fi

# dpkg-query also fails, with a line on stderr, for packages it has never heard of.
have=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' $wanted 2>/dev/null |
	sed -n 's/ installed$//p') || true
missing=$(printf '%s\n' $wanted | sort -u | grep -vxF "$have") || true
[ -n "$missing" ] || exit 0
missing=$(echo $missing) # one line

as_root=
if [ "$(id -u)" -ne 0 ]; then
	as_root=sudo
	if ! command -v sudo >/dev/null; then
		echo "deps.sh: missing: $missing" >&2
		echo "deps.sh: to install them run this as root: apt-get install $missing" >&2
		exit 1
	fi
fi

echo "deps.sh: installing $missing"
log=$(mktemp)
cat >"$log.sh" <<'INNER'
set -eu
policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.d/pgusher-deps.conf
made=
tidy() { [ -z "$made" ] || rm -f $made; }
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# 101: forbidden; Debian's maintainer scripts then start nothing.
if [ ! -e $policy ]; then
	made=$policy
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
fi
if ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
	made="$made $cluster"
	mkdir -p "${cluster%/*}"
	echo 'create_main_cluster = false' >$cluster
fi
new_pgbouncer=
command -v pgbouncer >/dev/null || new_pgbouncer=yes
export DEBIAN_FRONTEND=noninteractive
# A broken third-party source is no reason to give up; what is really missing fails below.
apt-get -qq -o DPkg::Lock::Timeout=300 update || true
apt-get -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@"
# A PgBouncer that came for the benchmark alone is not to start with the machine.
if [ -n "$new_pgbouncer" ] && command -v pgbouncer >/dev/null; then
	update-rc.d pgbouncer disable 2>/dev/null || true
fi
INNER
status=0
$as_root sh "$log.sh" $missing >"$log" 2>&1 </dev/null || status=$?
if [ $status -ne 0 ]; then
	tail -20 "$log" >&2
	echo "deps.sh: apt-get failed (status $status), its output is above" >&2
fi
rm -f "$log" "$log.sh"
exit $status
