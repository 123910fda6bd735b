"""The environment that the operator writes."""

import subprocess
import sys

import pytest

from agentsession_runner.errors import UnfitError
from agentsession_runner.protocol import (
    ENV_EGRESS_URL,
    ENV_FORBIDDEN,
    ENV_HOST_IP,
    ENV_OPTIONS,
    ENV_POD_UID,
    ENV_RESUME,
    ENV_SESSION_ID,
    EXIT_BAD_ENVIRONMENT,
)
from agentsession_runner.settings import Settings, Target

pytestmark = pytest.mark.unit

GOOD = {
    ENV_OPTIONS: '{"model": "m", "tools": ["Bash"]}',
    ENV_POD_UID: "uid",
    ENV_EGRESS_URL: "http://egress.agentsession.internal:8080/",
    ENV_FORBIDDEN: "10.96.0.1:443,[fd00::1]:9",
    ENV_HOST_IP: "172.30.0.1",
}


def test_reads_all_of_it() -> None:
    settings = Settings.from_environ(GOOD | {"PATH": "/bin"})
    assert settings.options.tools == ["Bash"]
    assert settings.egress_url == "http://egress.agentsession.internal:8080"
    assert settings.forbidden == (Target("10.96.0.1", 443), Target("fd00::1", 9), Target("172.30.0.1", 10250))
    assert str(settings.forbidden[1]) == "[fd00::1]:9"
    assert (settings.resume, settings.session_id) == (None, None)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("missing", ["", None])
def test_names_what_is_missing(name: str, missing: str | None) -> None:
    environ = {key: value for key, value in (GOOD | {name: missing}).items() if value is not None}
    with pytest.raises(UnfitError, match=f"{name} is not set") as unfit:
        Settings.from_environ(environ)
    assert unfit.value.code == EXIT_BAD_ENVIRONMENT


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (ENV_OPTIONS, "{", "JSON"),
        (ENV_OPTIONS, '{"tools": []}', "model: Field required"),
        (ENV_OPTIONS, '{"model": "m", "tools": [], "permission_mode": "auto"}', "permission_mode"),
        (ENV_EGRESS_URL, "egress:8080", "scheme://host:port"),
        (ENV_EGRESS_URL, "http://egress:8080/path", "scheme://host:port"),
        (ENV_FORBIDDEN, "10.96.0.1", "without a port"),
        (ENV_FORBIDDEN, "10.96.0.1:0", "without a port"),
        (ENV_FORBIDDEN, "kubernetes.default:443", "IP address"),
        (ENV_FORBIDDEN, "10.96.0.1:443,", "without a port"),
        (ENV_HOST_IP, "node-1", "IP address"),
        (ENV_RESUME, "--dangerously-skip-permissions", "not a UUID"),
        (ENV_SESSION_ID, "../another", "not a UUID"),
    ],
)
def test_names_what_is_wrong(name: str, value: str, says: str) -> None:
    with pytest.raises(UnfitError, match=says) as unfit:
        Settings.from_environ(GOOD | {name: value})
    assert name in str(unfit.value)


def test_an_options_error_does_not_quote_the_options() -> None:
    with pytest.raises(UnfitError) as unfit:
        Settings.from_environ(GOOD | {ENV_OPTIONS: '{"model": "m", "tools": "the users own text"}'})
    assert "own text" not in str(unfit.value)


@pytest.mark.parametrize("command", ["contain", "serve"])
def test_neither_container_starts_without_it(command: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "agentsession_runner", "--root", "/nonexistent", command],
        env={"PYTHONPATH": ":".join(sys.path)}, check=False, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert ended.returncode == EXIT_BAD_ENVIRONMENT
    assert ENV_OPTIONS in ended.stderr
