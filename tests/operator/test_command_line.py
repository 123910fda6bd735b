"""What every process of the image does before its own work."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

PROGRAM = """
import resource, runpy, sys

_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
sys.argv = ["agentsession", sys.argv[1], "--config", "/nowhere"]
try:
    runpy.run_module("agentsession", run_name="__main__")
except FileNotFoundError:
    print(resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most))
"""


@pytest.mark.parametrize("process", ["operator", "egress"])
def test_it_may_open_as_many_files_as_the_system_lets_it(process: str) -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, process], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "True", ran.stdout
