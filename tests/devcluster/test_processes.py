"""Whose a process is, is read from the process itself; these tests start real ones."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devcluster import processes

pytestmark = pytest.mark.unit

SLEEP = ("sleep", "600")


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    processes.kill(tmp_path)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true within 10 s"
        time.sleep(0.01)


def start(owner: Path, name: str, argv: tuple[str, ...] = SLEEP) -> None:
    processes.start(owner, name, argv, owner / f"{name}.log")


def test_a_started_process_is_found_with_its_arguments(owner: Path) -> None:
    start(owner, "etcd")
    assert processes.components(owner)["etcd"].argv == SLEEP


def test_output_is_appended_to_the_log(owner: Path) -> None:
    for word in ("first", "second"):
        start(owner, "echo", ("sh", "-c", f"echo {word}; echo {word} >&2"))
        wait_until(lambda: not processes.owned(owner))
    assert (owner / "echo.log").read_text().split() == ["first", "first", "second", "second"]


def test_a_lock_that_is_held_around_a_start_is_not_kept_by_it(owner: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    start(owner, "etcd")
    os.close(writer)
    assert os.read(reader, 1) == b"", "the child has the other end, so this would have waited for it"
    os.close(reader)


def test_children_belong_to_the_cluster_but_are_no_components(owner: Path) -> None:
    start(owner, "containerd", ("sh", "-c", "sleep 600 & wait"))
    wait_until(lambda: len(processes.owned(owner)) == 2)
    assert processes.components(owner)["containerd"].argv[0] == "sh"
    processes.kill(owner)
    assert processes.owned(owner) == []


def test_orphans_of_a_killed_component_are_found_and_killed(owner: Path) -> None:
    start(owner, "containerd", ("sh", "-c", "sleep 600 & wait"))
    wait_until(lambda: len(processes.owned(owner)) == 2)
    os.kill(processes.components(owner)["containerd"].pid, 9)
    wait_until(lambda: [process.argv for process in processes.owned(owner)] == [SLEEP])
    processes.kill(owner)
    assert processes.owned(owner) == []


def test_kill_takes_only_the_selected_names(owner: Path) -> None:
    start(owner, "etcd")
    start(owner, "kubelet")
    processes.kill(owner, "kubelet".__eq__)
    assert set(processes.components(owner)) == {"etcd"}


def test_clusters_and_strangers_do_not_see_each_other(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "one-more"
    one.mkdir()
    other.mkdir()
    with subprocess.Popen(SLEEP) as stranger:
        try:
            start(one, "etcd")
            start(other, "etcd")
            processes.kill(one)
            assert processes.owned(one) == []
            assert set(processes.components(other)) == {"etcd"}
            assert stranger.poll() is None
        finally:
            processes.kill(other)
            stranger.kill()


def test_killed_children_of_this_process_leave_no_zombies(owner: Path) -> None:
    start(owner, "etcd")
    start(owner, "kubelet")
    pids = [process.pid for process in processes.owned(owner)]
    processes.kill(owner)
    assert not [pid for pid in pids if (Path("/proc") / str(pid)).exists()]


def test_a_tied_process_dies_with_its_parent(owner: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from devcluster import processes\n"
        "owner = pathlib.Path(sys.argv[1])\n"
        "processes.start(owner, 'etcd', ('sleep', '600'), owner / 'log', die_with_parent=True)\n"
        "print('started', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(owner)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        wait_until(lambda: [process.argv for process in processes.owned(owner)] == [SLEEP])
        parent.kill()
    wait_until(lambda: processes.owned(owner) == [])
