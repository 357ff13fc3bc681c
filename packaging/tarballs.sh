#!/bin/sh
# Make the two sources of the RPM and of Arch Linux' package.
#
#     sh packaging/tarballs.sh FOLDER
#
# FOLDER gets oomrules-VERSION.tar.gz, the project, and oomrules-VERSION-bundled.tar.gz, what
# packaging/bundled.txt names.
set -eu
folder=$1
here=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$here/oomrules/__init__.py")
name=oomrules-$version

mkdir -p "$folder"
sh "$here/packaging/source.sh" "$folder/$name"
mv "$folder/$name/debian/bundled" "$folder/bundled"
rm -rf "$folder/$name/debian"
epoch=$(sed -n 's/^ -- .*>  //p' "$here/packaging/debian/changelog" | head -n 1)
pack() {
  tar -C "$folder" --sort=name --owner=0 --group=0 --numeric-owner --mtime="$epoch" \
    -cf - "$2" | gzip -n -9 >"$folder/$1.tar.gz"
  rm -rf "${folder:?}/$2"
}
pack "$name" "$name"
pack "$name-bundled" bundled
