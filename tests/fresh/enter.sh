#!/bin/sh
# Become the first process of a machine whose root lies in a folder, and run a command there.
#
#     unshare --mount --pid --ipc --uts --fork --kill-child sh enter.sh LOWER TOP BINDS -- COMMAND...
#
# LOWER is never changed: TOP has what the machine itself has written. BINDS are absolute paths,
# one a line, that are seen inside as they are outside. All mounts are of this namespace, and end
# with it.
set -eu
lower=$1 top=$2 binds=$3
shift 4

root=$top/root
mkdir -p "$root"
if [ -d "$top/copy" ]; then
  mount --bind "$top/copy" "$root"
else
  mount -t overlay overlay -o "lowerdir=$lower,upperdir=$top/upper,workdir=$top/work" "$root"
fi

mount -t proc proc "$root/proc"
# The control groups of this machine are below it.
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=755,size=1m dev "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
for name in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
  ln -s "/proc/self/${name#*:}" "$root/dev/${name%:*}"
done
for name in null zero full random urandom tty; do
  : > "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"

echo "$binds" | while read -r path; do
  [ -n "$path" ] || continue
  if [ -d "$path" ]; then
    mkdir -p "$root$path"
  else
    mkdir -p "$root${path%/*}"
    : >> "$root$path"
  fi
  mount --rbind "$path" "$root$path"
done

hostname fresh
cd "$root"
# A changed root, unlike a chroot, may make user namespaces of its own.
pivot_root . .
umount -l .
cd /
# The shell stays: the first process has to collect what others leave behind.
code=0
"$@" || code=$?
exit "$code"
