#!/bin/sh
# deps.sh KIND...: install the Debian packages that tools/packages lists for these kinds, where any is missing.
# Does nothing and says nothing when all are there.  Where it cannot install, it names what is missing and exits 1.
set -eu
here=$(dirname "$0")
kinds=" $* "
missing=
while read -r package kind _; do
	case $package in '' | '#'*) continue ;; esac
	case $kinds in *" $kind "*) ;; *) continue ;; esac
	status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
	[ "$status" = "install ok installed" ] || missing="$missing $package"
done <"$here/packages"
[ -n "$missing" ] || exit 0

cannot() {
	echo "deps: $1; install these packages first:$missing" >&2
	exit 1
}
command -v apt-get >/dev/null 2>&1 || cannot "no apt-get on this machine (drover's packages are named as in Debian 12)"
if [ "$(id -u)" = 0 ]; then
	as_root=
elif sudo -n true 2>/dev/null || { [ -t 0 ] && command -v sudo >/dev/null 2>&1; }; then
	as_root=sudo
else
	cannot "not root, and no sudo"
fi
echo "deps: installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package lists of a fresh machine are often older than the archive, so they are always read anew.
if ! { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive \
	apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	cannot "apt-get failed"
fi
