#!/bin/sh
# Boots systemd as PID 1 of the namespaces that its caller has made, in a root of its own (a debootstrapped folder).
#
#   unshare --pid --fork --mount --uts --ipc --cgroup sh boot.sh ROOT READ_ONLY_PATH...
#
# Nothing of the machine is writable in there but ROOT: /proc/sys and /sys are read-only, /dev, /run and /tmp are new,
# and each READ_ONLY_PATH is shown at its own place.
set -eu
root=$1
shift

mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --bind -o ro "$root/proc/sys" "$root/proc/sys"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
for path in "$@"; do
    mkdir -p "$root$path"
    mount --bind -o ro "$path" "$root$path"
done
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 666 "$root/dev/tty" c 5 0
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
hostname memewatchd-soak

cd "$root"
pivot_root . mnt
umount -l /mnt
# As systemd does on a machine; it thinks that this is a container.
mount --make-rshared /
exec env -i container=lxc PATH=/usr/sbin:/usr/bin \
    setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog,-sys_boot /sbin/init
