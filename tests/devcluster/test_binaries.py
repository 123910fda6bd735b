"""Where programs come from. A small shell script stands in for Go, so that no test compiles anything."""

import threading
from pathlib import Path

import pytest

from devcluster import binaries
from devcluster.errors import DevclusterError

pytestmark = pytest.mark.unit

GO = """\
#!/bin/sh
[ "$1" = version ] && { echo "go version go%s linux/amd64"; exit 0; }
echo "$@" >> "$CALLS"
while [ "$1" != -o ]; do shift; done
printf half > "$2"
%s
printf '#!/bin/sh\\n' > "$2"
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache, and a PATH that has only the shell's tools."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setattr(binaries, "_from_path", lambda _: None)
    return tmp_path


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def install_go(machine: Path, version: str = "1.26.6", fault: str = "") -> None:
    program(machine / "bin/go", GO % (version, fault))


def builds(machine: Path) -> int:
    calls = machine / "calls"
    return len(calls.read_text().splitlines()) if calls.exists() else 0


@pytest.mark.parametrize("binary", binaries.CATALOGUE.values(), ids=lambda binary: binary.name)
def test_each_program_is_pinned_by_its_family(binary: binaries.Binary) -> None:
    assert binaries.version(binary).startswith("v")
    assert (binaries.GO_MODULES / binary.family / "go.sum").exists()
    assert f'"{binary.package}"' in (binaries.GO_MODULES / binary.family / "tools.go").read_text()


@pytest.mark.parametrize(
    ("printed", "pinned", "accepted"),
    [
        ("Kubernetes v1.36.0", "v1.36.3", True),
        ("Client Version: v1.36.3\nKustomize Version: v5.8.1", "v1.36.3", True),
        ("Kubernetes v1.35.9", "v1.36.3", False),
        ("etcd Version: 3.7.1\nGo Version: go1.26", "v3.7.3", True),
        ("v4.3", "v4.3.1", True),
        ("v3.19.0+g3d8990f", "v4.3.1", False),
        ("development", "v0.8.0", False),
        ("", "v0.8.0", False),
    ],
)
def test_a_program_on_path_is_used_if_its_minor_version_is_the_pinned_one(
    printed: str, pinned: str, accepted: bool
) -> None:
    assert binaries.same_minor(printed, pinned) is accepted


def test_a_program_on_path_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = binaries.version(binaries.CATALOGUE["helm"])
    found = program(tmp_path / "helm", f"#!/bin/sh\n[ $1 = version ] && echo {pinned}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert binaries.resolve(["helm"]) == {"helm": found}


def test_the_environment_comes_first(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = program(machine / "my-kubelet", "")
    monkeypatch.setenv("DEVCLUSTER_KUBELET", str(own))
    assert binaries.resolve(["kubelet"]) == {"kubelet": own}


def test_a_wrong_environment_variable_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVCLUSTER_KUBE_PROXY", "/nowhere")
    with pytest.raises(DevclusterError, match="DEVCLUSTER_KUBE_PROXY=/nowhere is not an executable file"):
        binaries.resolve(["kube-proxy"])


def test_a_program_is_built_once(machine: Path) -> None:
    install_go(machine)
    first = binaries.resolve(["etcd"])
    assert first["etcd"].name == f"etcd-{binaries.version(binaries.CATALOGUE['etcd'])}"
    assert binaries.resolve(["etcd"]) == first
    assert builds(machine) == 1


def test_two_at_once_build_once(machine: Path) -> None:
    install_go(machine)
    threads = [threading.Thread(target=binaries.resolve, args=(["etcd"],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert builds(machine) == 1


def test_a_build_that_died_half_way_leaves_nothing_to_be_found(machine: Path) -> None:
    install_go(machine, fault="echo no space left >&2; exit 1")
    with pytest.raises(DevclusterError, match=r"go build of etcd v\S+ failed:\nno space left"):
        binaries.resolve(["etcd"])
    install_go(machine)
    assert binaries.resolve(["etcd"])["etcd"].read_text() == "#!/bin/sh\n"


def test_an_old_go_is_named_with_what_is_needed(machine: Path) -> None:
    install_go(machine, version="1.19.8")
    with pytest.raises(DevclusterError, match=r"go is too old .*go1\.19\.8.*Install Go 1\.26 or newer"):
        binaries.resolve(["etcd"])


def test_a_missing_go_is_said(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(machine / "bin"))
    with pytest.raises(DevclusterError, match=r"Go is not on PATH.*Install Go 1\.26 or newer"):
        binaries.resolve(["etcd"])


def test_kubernetes_is_stamped_with_its_version() -> None:
    command = binaries.build_command(binaries.CATALOGUE["kubectl"], "v1.36.3", Path("out"))
    linker = command[command.index("-ldflags") + 1]
    for stamp in ("gitVersion=v1.36.3", "gitMajor=1", "gitMinor=36"):
        assert f"-X k8s.io/component-base/version.{stamp}" in linker


def test_containerd_is_built_without_snapshotters_that_need_libraries() -> None:
    command = binaries.build_command(binaries.CATALOGUE["containerd"], "v2.4.2", Path("out"))
    assert command[command.index("-tags") + 1] == "no_btrfs,no_devmapper,no_zfs"
