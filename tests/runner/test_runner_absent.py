"""What a runner does not import."""

import subprocess
import sys

import pytest

from agentsession_runner.absent import absent

pytestmark = pytest.mark.unit

CONNECTS = """
import sys
from agentsession_runner.absent import absent
with absent("jsonschema", "mcp"):
    from agentsession_runner import agent
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_what_is_absent_is_a_placeholder_for_as_long_as_it_is() -> None:
    with absent("wave"):
        from wave import Error, Wave_read  # noqa: PLC0415
        from wave.of import anything  # type: ignore[import-not-found]  # noqa: PLC0415

        class Reads(Wave_read, extra="allow"):  # type: ignore[call-arg]
            pass

    import wave  # noqa: PLC0415

    assert Error is anything
    assert not issubclass(Reads, wave.Wave_read)
    assert issubclass(wave.Error, Exception)


def test_the_sdk_is_imported_without_what_no_runner_uses() -> None:
    ended = subprocess.run([sys.executable, "-c", CONNECTS], check=True, capture_output=True, text=True)
    assert {"claude_agent_sdk", "pydantic"} <= {*ended.stdout.split()}
    assert not {"jsonschema", "mcp", "uvicorn"} & {*ended.stdout.split()}
