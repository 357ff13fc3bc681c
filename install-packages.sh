#!/bin/sh
# Install those of some Debian packages that are missing, or say what to install.
#
#     sh install-packages.sh PACKAGE...
set -eu

missing=
for package in "$@"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' \
    || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

refused() {
  echo "make: $1. Ask for it, as root:" >&2
  echo "  apt-get install --no-install-recommends$missing" >&2
  exit 1
}

command -v apt-get >/dev/null || {
  echo "make: please install$missing (or what they are called here)" >&2
  exit 1
}
as_root=
if [ "$(id -u)" != 0 ]; then
  as_root=sudo
  command -v sudo >/dev/null || refused "only root can install packages, and there is no sudo here"
fi

apt() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@"; }

echo "installing$missing"
# Each word of $missing is a package.
# shellcheck disable=SC2086
if ! { apt update && apt install -y --no-install-recommends $missing >/dev/null; }; then
  refused "the packages could not be installed (see above)"
fi
