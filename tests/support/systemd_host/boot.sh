#!/bin/sh
# Makes a root of its own over the machine's and becomes systemd there. Called by __init__.py as PID 1 of new namespaces.
# boot.sh WORK: WORK/run becomes /run, WORK/units /etc/systemd/system; WORK/binds lists directories that stay visible, one a line.
# The machine's own root is only the lowest, read-only layer: systemd's first acts (tmpfiles) would empty its /tmp.
set -eu
work=$1
root=$work/root
[ "$$" = 1 ] || { echo "boot.sh must be PID 1 of its own namespace" >&2; exit 1; }

mount --make-rprivate /
mount -t tmpfs -o mode=755,size=256m tmpfs "$work/layers"
mkdir "$work/layers/upper" "$work/layers/scratch"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/layers/upper,workdir=$work/layers/scratch" "$root"
for directory in tmp var/tmp; do mount -t tmpfs -o mode=1777,size=64m tmpfs "$root/$directory"; done
mount -t tmpfs -o mode=755,size=64m tmpfs "$root/var/log"
mount --bind "$work/run" "$root/run"
mount --bind "$work/units" "$root/etc/systemd/system"
while IFS= read -r directory; do
  mkdir -p "$root$directory"
  mount --rbind "$directory" "$root$directory"
done < "$work/binds"

mount -t proc -o nosuid,noexec,nodev proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro,nosuid,noexec,nodev sysfs "$root/sys"
mount -t cgroup2 -o nosuid,noexec,nodev cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755,nosuid,size=4m tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777,size=64m tmpfs "$root/dev/shm"

mkdir "$root/.old"
cd "$root"
pivot_root . .old
umount -l /.old
rmdir /.old 2>/dev/null || true
exec env -i container=rollbackd-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
  /lib/systemd/systemd --system --unit=rollbackd-test.target --log-target=journal
