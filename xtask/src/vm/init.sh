#!/bin/busybox sh
# First process of the guest: prepares what a tracer expects to find, runs /cmd.sh with its output on the
# second serial line ($said), reports status and results on the third ($control), and powers off. The kernel
# hands down the words of its command line that it does not know.
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/root:/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /out
mount -t tmpfs tmpfs /run
ip link set lo up
echo 0 >/proc/sys/kernel/kptr_restrict
while read -r module; do
    insmod "/mods/$module.ko" || echo "insmod $module failed"
done </mods/order
stty -F "$said" raw -echo
cd /root || poweroff -f
sh /cmd.sh </dev/null >"$said" 2>&1
status=$?
sync
stty -F "$control" raw -echo
{
    echo "STATUS $status"
    if [ -n "$(ls -A /out)" ]; then
        tar -C /out -cf - . | gzip -1 | base64
    fi
} >"$control"
sleep 0.2
poweroff -f
