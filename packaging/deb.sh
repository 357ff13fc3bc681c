#!/bin/sh
# Build the Debian packages.
#
#     sh packaging/deb.sh FOLDER
#
# FOLDER is made anew, and has the packages and their source in the end.
set -eu
folder=$1
here=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$here/oomrules/__init__.py")

rm -rf "$folder"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
sh "$here/packaging/source.sh" "$folder/oomrules-$version"
cd "$folder/oomrules-$version"
dpkg-buildpackage --no-sign
cd ..
rm -rf "oomrules-$version"
ls -l
