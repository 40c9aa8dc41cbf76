# Run inside the new root file system, after the packages and the files of files/ are there.
set -eu

# Network plug-ins where the DaemonSets of others install theirs too.
mkdir -p /opt/cni/bin
for plugin in /usr/lib/cni/*; do
    ln -sf "../../../usr/lib/cni/${plugin##*/}" "/opt/cni/bin/${plugin##*/}"
done

systemctl enable --quiet containerd kubelet plimsoll-images plimsoll-hot-add.timer \
    systemd-networkd systemd-resolved systemd-timesyncd
systemctl disable --quiet apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer nftables.service \
    cloud-init-hotplugd.socket
# Nobody can log in (root is locked), and the serial port is for the log.
systemctl mask --quiet getty@tty1.service serial-getty@ttyS0.service

passwd --quiet --lock root

# Built again, now that files/ say which modules it needs.
update-initramfs -u
dpkg-query --show >/usr/share/plimsoll-packages.txt

# What belongs to the machine that built this, to one VM only, or to nobody.
rm -f /etc/hostname /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/99mmdebstrap
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id
# Names by what systemd-resolved learns, not by its stub: kubelet hands this file on to pods,
# where the stub's address leads nowhere.
ln -sf ../run/systemd/resolve/resolv.conf /etc/resolv.conf
# Times, random names and orders of the build: without them two builds give the same bytes.
rm -rf /var/log/* /var/cache/* /var/lib/apt/lists/* /tmp/*
rm -f /var/lib/dpkg/*-old /etc/*- /var/lib/plimsoll-customize.sh
# Caches of /usr are up to date: the first boot need not make them again.
touch -r /usr /etc/.updated /var/.updated
