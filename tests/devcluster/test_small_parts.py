"""Files, mounts, leftovers and DNS: one idea each."""

import struct
import threading
from pathlib import Path

import pytest

from devcluster import dns, files, leftovers, mounts

pytestmark = pytest.mark.unit


def test_a_file_replaces_its_former_content_and_mode(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    files.write(target, "old")
    files.write(target, "secret", 0o600)
    assert target.read_text() == "secret"
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(target.parent.iterdir()) == [target]


def test_a_lock_is_waited_for_and_that_is_said(tmp_path: Path) -> None:
    waiting, order = threading.Event(), []

    def second() -> None:
        with files.locked(tmp_path / "lock", waiting.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with files.locked(tmp_path / "lock", lambda: pytest.fail("nobody held it")):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_mount_points_are_found_below_a_folder_only() -> None:
    assert Path("/proc") in mounts.below(Path("/"))
    assert Path("/proc") not in mounts.below(Path("/pro"))


@pytest.mark.parametrize(
    ("field", "path"), [("/a/b", "/a/b"), (r"/with\040blank", "/with blank"), (r"/\303\244", "/ä")]
)
def test_escapes_of_the_kernel_are_undone(field: str, path: str) -> None:
    assert mounts.unescape(field) == path


def test_cgroups_are_removed_deepest_first_and_only_if_empty(tmp_path: Path) -> None:
    (tmp_path / "cpu/kubepods/burstable/pod1").mkdir(parents=True)
    (tmp_path / "memory/kubepods/pod2").mkdir(parents=True)
    (tmp_path / "memory/kubepods/pod2/process").touch()
    (tmp_path / "memory/other").mkdir()
    leftovers.remove_cgroups("kubepods", tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_dir()}
    assert left == {"cpu", "memory", "memory/kubepods", "memory/kubepods/pod2", "memory/other"}


def test_only_links_into_the_cluster_are_removed(tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "ours.log").symlink_to(tmp_path / "cluster/pod-logs/gone.log")
    (links / "theirs.log").symlink_to(tmp_path / "cluster-2/pod-logs/gone.log")
    (links / "file.log").touch()
    leftovers.remove_log_links(tmp_path / "cluster", links)
    assert {path.name for path in links.iterdir()} == {"theirs.log", "file.log"}


def test_a_dns_query_is_as_rfc_1035_has_it() -> None:
    header, question = dns.query("a.bc.")[:12], dns.query("a.bc.")[12:]
    assert header == struct.pack("!6H", dns.ID, 0x0100, 1, 0, 0, 0)
    assert question == b"\x01a\x02bc\x00\x00\x01\x00\x01"


@pytest.mark.parametrize(
    ("identifier", "flags", "answers", "good"),
    [
        (dns.ID, 0x8180, 1, True),
        (dns.ID, 0x8180, 0, False),
        (dns.ID, 0x8183, 0, False),  # NXDOMAIN
        (dns.ID, 0x8182, 1, False),  # SERVFAIL
        (dns.ID + 1, 0x8180, 1, False),
    ],
)
def test_a_reply_counts_if_it_is_ours_without_error_and_not_empty(
    identifier: int, flags: int, answers: int, good: bool
) -> None:
    assert dns.has_answer(struct.pack("!6H", identifier, flags, 1, answers, 0, 0)) is good


def test_a_cut_off_reply_does_not_count() -> None:
    assert not dns.has_answer(b"\x41\x53")
