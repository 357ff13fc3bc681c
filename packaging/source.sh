#!/bin/sh
# Make the tree that the Debian packages are built from.
#
#     sh packaging/source.sh TREE
#
# TREE is made anew: the project's files, debian/, and what is bundled in debian/bundled. Only this
# step uses the network.
set -eu
tree=$1
here=$(cd "$(dirname "$0")/.." && pwd)

rm -rf "$tree"
mkdir -p "$tree"
if [ -e "$here/.git" ]; then
  # The files that git knows, as they are now.
  git -c safe.directory="$here" -C "$here" ls-files -z |
    tar -C "$here" --null --ignore-failed-read -T - -cf - | tar -C "$tree" -xf -
else
  tar -C "$here" --exclude='./.?*' --exclude=./build --exclude=./dist -cf - . | tar -C "$tree" -xf -
fi
rm -rf "$tree/.ci"
cp -R "$tree/packaging/debian" "$tree/debian"

bundled=$tree/debian/bundled
python3 -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes \
  --target "$bundled" --requirement "$here/packaging/bundled.txt"
# Their tests and tools are not needed; lark's are under another license than the rest of it.
rm -rf "$bundled"/*.dist-info "$bundled"/cgroupspy/test "$bundled"/lark/tools \
  "$bundled"/lark/__pyinstaller
# Whatever the umask is, the package is the same.
chmod -R u=rwX,go=rX "$tree"
