"""What every process of the image does before its own work."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

PROGRAM = """
import resource, runpy, sys

_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
sys.argv = ["agentsession", sys.argv[1], "--config", "/nowhere"]
try:
    runpy.run_module("agentsession", run_name="__main__")
except SystemExit:
    print(resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most))
"""


@pytest.mark.parametrize("process", ["operator", "egress"])
def test_it_may_open_as_many_files_as_the_system_lets_it(process: str) -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, process], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "True", ran.stdout


@pytest.mark.parametrize("process", ["operator", "egress"])
@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "No such file or directory"),
        ("a: [", "expected the node content"),
        ("- a", "Input should be"),
        ("shards: many", "shards: "),
    ],
)
def test_a_wrong_configuration_is_said_in_a_line(process: str, config: str | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "installation.yaml"
    if config is not None:
        file.write_text(config)
    command = (sys.executable, "-m", "agentsession", process, "--config", str(file))
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False), ran.stderr
    assert f"--config {file}" in ran.stderr
    assert said in ran.stderr
