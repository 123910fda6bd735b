"""Whether the kernel killed something here for want of memory: a dead agent process itself says only "exit code -9"."""

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""The container's own, read-only; both hierarchies say it in a line `oom_kill N`."""
COUNTERS = ("memory.events", "memory/memory.oom_control")


def oom_kills(cgroup: Path = CGROUP) -> int:
    """How many processes of this container were killed for want of memory; 0 where nobody says."""
    for name in COUNTERS:
        try:
            lines = (cgroup / name).read_text().splitlines()
        except OSError:
            continue
        return next((int(count) for key, _, count in (line.partition(" ") for line in lines) if key == "oom_kill"), 0)
    return 0
