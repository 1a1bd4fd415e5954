#!/bin/sh
# Boots Debian's kernels, one after another, in a virtual machine without a network that holds a
# clone of what is committed here, and has an ordinary user run make tour, make labs and make
# test in it. What came of it is left in build/kernels/VERSION; tests/kernels/table.py makes
# docs/kernels.md of that.
#
#   kernels.sh [VERSION...]     5.10, 6.1, 6.12; all of them where none is named
#
# The environment: TASKS="tour labs test", what to run; ACCELERATOR=kvm|tcg, how (qemu(1)). kvm
# is taken by itself on a machine that has it and is no virtual one, inside of which it can be
# slower than none.
#
# Needs root, for debootstrap(8); and a Debian, whose mirror it takes from apt's settings.
set -eu
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- 5.10 6.1 6.12
tasks=${TASKS:-tour labs test}
work=$PWD/build/kernels
root=$work/root

if [ "$(id -u)" != 0 ]; then
    echo "make kernels needs root: it makes the files of a system, with their owners" >&2
    exit 1
fi

# Which of Debian's releases came with the kernel.
release_of() {
    case $1 in
    5.10) echo bullseye ;;
    6.1) echo bookworm ;;
    6.12) echo trixie ;;
    *)
        echo "kernels.sh: $1: it can be 5.10, 6.1 or 6.12" >&2
        exit 2
        ;;
    esac
}

mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Identifier: Packages' |
        sed -n 's/^Debian //p' | head -n 1
}

# apt_for RELEASE COMMAND...: apt-get or apt-cache, with that release alone.
apt_for() {
    apt=$work/apt/$1
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [arch=amd64 signed-by=$keys] $(mirror) $1 main" >"$apt/sources.list"
    shift
    command=$1
    shift
    "$command" -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt" -o APT::Sandbox::User=root \
        -o APT::Architectures=amd64 -o APT::Architecture=amd64 "$@"
}

# The kernel itself, and its modules, in build/kernels/VERSION/kernel.
fetch_kernel() {
    release=$(release_of "$1")
    [ ! -d "$work/$1/kernel" ] || return 0
    apt_for "$release" apt-get -q update
    # The package linux-image-cloud-amd64 stands for the newest, and names it.
    package=$(apt_for "$release" apt-cache depends linux-image-cloud-amd64 |
        sed -n 's/^ *Depends: //p')
    echo "$1: $package"
    mkdir -p "$work/$1/package"
    (cd "$work/$1/package" && apt_for "$release" apt-get -q download "$package")
    dpkg -x "$work/$1/package/"*.deb "$work/$1/kernel"
    rm -r "$work/$1/package"
}

# Newer packages have them below /usr.
modules_of() {
    for folder in "$work/$1/kernel/lib/modules" "$work/$1/kernel/usr/lib/modules"; do
        [ ! -d "$folder" ] || echo "$folder"
    done
}

# A small Debian; what is built in it, once, are programs for all of the kernels.
make_root() {
    packages=make,gcc,libc6-dev,git,iproute2,netcat-openbsd,socat,procps,kmod
    case $tasks in
    *test*)
        packages=$packages,g++,libgtest-dev
        packages=$packages,python3-pytest,python3-pytest-xdist,python3-hypothesis
        ;;
    esac
    # One with more than is needed will do.
    case $(cat "$root/complete" 2>/dev/null) in
    "$packages"*) ;;
    *)
        rm -f "$root/complete"
        rm -rf "$root"
        debootstrap --variant=minbase --include="$packages" bookworm "$root" "$(mirror)"
        chroot "$root" useradd --create-home learner
        echo "$packages" >"$root/complete"
        ;;
    esac
    rm -rf "$root/lib/modules" "$root/results"
    mkdir -p "$root/lib/modules" "$root/results"
    # What was built in the clone before stays, and need not be built again.
    [ -d "$root/kit" ] || git clone -q . "$root/kit"
    git -C "$root/kit" -c safe.directory="$root/kit" fetch -q "$PWD" HEAD
    git -C "$root/kit" -c safe.directory="$root/kit" reset -q --hard FETCH_HEAD
    rm -rf "$root/kit/build/labs" "$root/kit/build/tour"
    chroot "$root" chown -R learner /kit /results
    goals="all experiments"
    case $tasks in
    *test*) goals="$goals fuzzers build/tests/unit/unit_tests build/tests/faults/faults.so" ;;
    esac
    chroot "$root" su learner -c "make -s -C /kit $goals"
    for version; do
        cp -a "$(modules_of "$version")"/* "$root/lib/modules/"
    done
    for modules in "$root/lib/modules/"*; do
        chroot "$root" depmod "${modules##*/}"
    done
    cat >"$root/sbin/vm-init" <<'END'
#!/bin/sh
# The first process of the virtual machine. Its results go to the second disk, as a tar file.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for folder in /tmp /dev/shm /run; do
    mount -t tmpfs -o mode=1777 tmpfs $folder
done
ln -sf /proc/self/fd /dev/fd
ip link set lo up
modprobe veth
echo "127.0.0.1 localhost" >/etc/hosts
uname -r | tee /results/release
su learner -c 'sh /job'
cd /kit/build
cp -r labs *.xml /results/ 2>/dev/null
tar -c -f /dev/vdb -C /results .
sync
echo o >/proc/sysrq-trigger
sleep 60
END
    cat >"$root/job" <<END
cd /kit
git log -1 --format=%h >/results/commit
export TEST_LIMIT=60 # seconds: what is emulated takes its time
for task in $tasks; do
    echo "make \$task ..."
    start=\$(date +%s)
    status=0
    make \$task >/results/\$task.txt 2>&1 </dev/null &
    # How far it is, every two minutes.
    while ! timeout 120 tail --pid=\$! -f /dev/null; do
        echo "    \$(grep -o '[0-9]*%' /results/\$task.txt | tail -n 1)" \
            "\$(tail -n 1 /results/\$task.txt)"
    done
    wait \$! || status=\$?
    echo "\$status \$((\$(date +%s) - start))" >/results/\$task.status
    echo "  status \$status, \$((\$(date +%s) - start)) s"
done
END
    chmod +x "$root/sbin/vm-init"
    rm -f "$work/disk"
    truncate -s 6G "$work/disk"
    mke2fs -q -t ext4 -d "$root" "$work/disk"
}

# What the kernel needs to find the disk: its modules for virtio, and busybox to load them.
make_initrd() {
    init=$work/$1/init
    rm -rf "$init"
    mkdir -p "$init/bin" "$init/proc" "$init/sys" "$init/dev" "$init/new" "$init/modules"
    cp "$(command -v busybox)" "$init/bin/"
    find "$(modules_of "$1")" -path '*drivers*' -name 'virtio*.ko*' \
        -exec cp {} "$init/modules/" \;
    # Those of newer kernels are compressed, and busybox cannot load such.
    find "$init/modules" -name '*.xz' -exec unxz {} \;
    cat >"$init/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
# One needs another: in some round all are loaded.
for round in 1 2 3; do
    for module in /modules/*; do
        insmod $module 2>/dev/null
    done
done
while [ ! -b /dev/vdb ]; do
    sleep 0.1
done
mount -t ext4 /dev/vda /new
for folder in proc sys dev; do
    mount --move /$folder /new/$folder
done
exec switch_root /new /sbin/vm-init
END
    chmod +x "$init/init"
    (cd "$init" && find . | cpio -o -H newc 2>/dev/null) | gzip -1 >"$work/$1/initrd"
    rm -rf "$init"
}

run_kernel() {
    accelerator=${ACCELERATOR:-}
    if [ -z "$accelerator" ] && [ -w /dev/kvm ] && ! grep -q '^flags.* hypervisor' /proc/cpuinfo
    then
        accelerator=kvm
    fi
    [ "$accelerator" = kvm ] || accelerator=tcg,thread=multi
    # A plain processor: to emulate a newer one's instructions for copying takes longer than to do
    # without. And without cmpxchg16b, which qemu 7.2 does wrong: 6.12 ends in a double fault.
    rm -rf "$work/$1/results"
    mkdir "$work/$1/results"
    truncate -s 256M "$work/$1/output"
    make_initrd "$1"
    echo "$1: booting"
    timeout --foreground 7200 qemu-system-x86_64 -accel "$accelerator" -cpu qemu64,-cx16 \
        -smp 2 -m 4096 -display none -monitor none -serial stdio -no-reboot -nic none \
        -kernel "$work/$1/kernel/boot/"vmlinuz-* -initrd "$work/$1/initrd" \
        -append "console=ttyS0 quiet loglevel=1 mitigations=off panic=-1" \
        -drive file="$work/disk",if=virtio,format=raw,snapshot=on \
        -drive file="$work/$1/output",if=virtio,format=raw \
        </dev/null | tee "$work/$1/console.txt" | sed -u "s/^/$1: /"
    tar -x -f "$work/$1/output" -C "$work/$1/results"
    rm "$work/$1/output" "$work/$1/initrd"
}

for version; do
    fetch_kernel "$version"
done
make_root "$@"
for version; do
    run_kernel "$version"
done
rm "$work/disk"
for version; do
    for task in $tasks; do
        results=build/kernels/$version/results
        if [ ! -e "$results/$task.status" ]; then
            echo "$version: make $task: no end of it; build/kernels/$version/console.txt says why"
            status=1
        elif ! grep -q '^0 ' "$results/$task.status"; then
            echo "$version: make $task: $results/$task.txt says why"
            status=1
        fi
    done
done
exit ${status:-0}
