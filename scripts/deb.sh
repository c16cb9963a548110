#!/bin/sh
# Makes a Debian package of an installed tree, for `make deb`.
#
#   scripts/deb.sh DIR VERSION OUTDIR     DIR/root is the tree (make install DESTDIR=DIR/root)
#
# Depends is computed from the binary by dpkg-shlibdeps, so a package made on Debian 12 is for
# Debian 12. The service is neither enabled nor started: its ini names no servers yet.
set -eu

dir=$1 version=$2 outdir=$3
root=$dir/root
arch=$(dpkg --print-architecture)
deb=$outdir/pgusher_${version}_$arch.deb

# dpkg-shlibdeps wants to stand beside a debian/control.
mkdir -p "$dir/debian" "$root/DEBIAN" "$root/usr/share/doc/pgusher"
printf 'Source: pgusher\n\nPackage: pgusher\nArchitecture: any\n' >"$dir/debian/control"
depends=$(cd "$dir" && dpkg-shlibdeps -O root/usr/bin/pgusher | sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ]

strip --strip-unneeded "$root/usr/bin/pgusher"
cp LICENSE "$root/usr/share/doc/pgusher/copyright"
cat >"$root/DEBIAN/control" <<END
Package: pgusher
Version: $version
Architecture: $arch
Maintainer: PgUsher contributors <pgusher@localhost>
Section: database
Priority: optional
Depends: $depends, adduser
Installed-Size: $(du -sk "$root" | cut -f1)
Description: tenant proxy for PostgreSQL
 PgUsher speaks PostgreSQL's protocol. Clients log in with a tenant's JSON Web
 Token as the password; each of their transactions runs under that tenant's
 row-level security context, over a small pool of server connections.
END
echo /etc/pgusher/pgusher.ini >"$root/DEBIAN/conffiles"

cat >"$root/DEBIAN/postinst" <<'END'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
	if ! getent passwd pgusher >/dev/null; then
		adduser --system --group --quiet --home /nonexistent --no-create-home pgusher
	fi
	# The folder holds passwords and keys.
	chown root:pgusher /etc/pgusher
	chmod 750 /etc/pgusher
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload
		# An upgrade: go on with the new program where the old one runs.
		[ -z "$2" ] || systemctl try-restart pgusher.service
	fi
fi
END
cat >"$root/DEBIAN/prerm" <<'END'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
	systemctl disable --now pgusher.service
fi
END
cat >"$root/DEBIAN/postrm" <<'END'
#!/bin/sh
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
END
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm" "$root/DEBIAN/postrm"

dpkg-deb --root-owner-group --build "$root" "$deb" >/dev/null
echo "$deb"
