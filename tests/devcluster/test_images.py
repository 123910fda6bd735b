"""An image's key changes with what goes into it, and with nothing else."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from devcluster import images
from devcluster.errors import DevclusterError

pytestmark = pytest.mark.unit

DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY requirements.txt /opt/
COPY --chown=0:0 app \\
     lib /srv/
COPY --from=builder /out /out
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    context = tmp_path / "context"
    for name in ("requirements.txt", "app/main.py", "app/sub/deep.py", "lib/util.py", "unrelated.py"):
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (context / "Dockerfile").write_text(DOCKERFILE)
    return context


def key(context: Path, base: str = "base:1") -> str:
    staged = context.with_name("staged")
    images.stage(context / "Dockerfile", context, staged)
    return images.content_key(staged, base)


def test_copied_paths_are_read_from_the_dockerfile() -> None:
    assert images.copied(DOCKERFILE) == ["requirements.txt", "app", "lib"]


def test_staging_takes_what_is_copied_and_no_more(context: Path) -> None:
    key(context)
    staged = context.with_name("staged")
    found = {str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file()}
    assert found == {"Dockerfile", "requirements.txt", "app/main.py", "app/sub/deep.py", "lib/util.py"}


@pytest.mark.parametrize(
    "change",
    [
        lambda context: (context / "app/sub/deep.py").write_text("other"),
        lambda context: (context / "app/new.py").write_text(""),
        lambda context: (context / "app/main.py").rename(context / "app/renamed.py"),
        lambda context: (context / "app/main.py").chmod(0o755),
        lambda context: (context / "lib/util.py").unlink(),
        lambda context: (context / "Dockerfile").write_text(DOCKERFILE + "USER 1\n"),
    ],
    ids=["content", "new file", "rename", "executable", "removed", "dockerfile"],
)
def test_key_changes_with(context: Path, change: Callable[[Path], object]) -> None:
    before = key(context)
    change(context)
    assert key(context) != before


def test_key_changes_with_the_base(context: Path) -> None:
    assert key(context, "base:1") != key(context, "base:2")


def compiled(context: Path) -> None:
    (context / "app/__pycache__").mkdir()
    (context / "app/__pycache__/main.cpython-311.pyc").write_bytes(b"compiled")


@pytest.mark.parametrize(
    "change",
    [
        lambda context: (context / "unrelated.py").write_text("other"),
        lambda context: os.utime(context / "app/main.py", (0, 0)),
        compiled,
    ],
    ids=["file that is not copied", "time stamp", "compiled Python"],
)
def test_key_does_not_change_with(context: Path, change: Callable[[Path], object]) -> None:
    before = key(context)
    change(context)
    assert key(context) == before


def test_a_missing_source_is_named(context: Path) -> None:
    (context / "requirements.txt").unlink()
    with pytest.raises(DevclusterError, match=r"copies requirements\.txt, which is not in"):
        key(context)


def test_names_of_reference_and_archive_carry_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    image = images.named("agentsession/runner", "0123456789abcdef")
    assert image.reference == "localhost/agentsession/runner:0123456789abcdef"
    assert image.archive == tmp_path / "agentsession/images/agentsession-runner-0123456789abcdef.tar"


def test_loading_without_a_cluster_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devcluster.settings.RUN_DIR", tmp_path)
    with pytest.raises(DevclusterError, match="python -m devcluster up"):
        images.load(images.Image("localhost/x:1", tmp_path / "x.tar"))
