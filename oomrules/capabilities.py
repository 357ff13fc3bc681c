"""Linux capabilities by name (include/uapi/linux/capability.h), without ``CAP_``."""

from __future__ import annotations

CAPABILITIES: dict[str, int] = {
    name: bit
    for bit, name in enumerate(
        (
            "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP "
            "LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK "
            "IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
            "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE "
            "AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND "
            "AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
        ).split()
    )
}


def matches(written: str) -> list[str]:
    """List the capabilities that a written name can mean.

    The full name wins, with or without ``CAP_``. Otherwise the name may leave out the
    first word of the capability, so ``RAWIO`` means ``SYS_RAWIO``.

    Returns:
        no name if nothing matches, one if the meaning is clear, more if ambiguous.
    """
    name = written.removeprefix("CAP_")
    if name in CAPABILITIES:
        return [name]
    return [full for full in CAPABILITIES if full.partition("_")[2] == name]
