"""Where the runner keeps its files. Tests put the same tree under another root."""

from dataclasses import dataclass
from pathlib import Path

from .protocol import CONFIG_VOLUME, SERVICE_ACCOUNT_TOKEN, TERMINATION_LOG, TMP_VOLUME, WORKSPACE_VOLUME


@dataclass(frozen=True)
class Layout:
    """All paths of one runner, under one root."""

    root: Path = Path("/")

    def _at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    @property
    def work(self) -> Path:
        """The agent's working directory."""
        return self._at(WORKSPACE_VOLUME) / "work"

    @property
    def claude(self) -> Path:
        """CLAUDE_CONFIG_DIR: transcripts and the CLI's own state."""
        return self._at(CONFIG_VOLUME) / "claude"

    @property
    def home(self) -> Path:
        """HOME."""
        return self._at(TMP_VOLUME) / "home"

    @property
    def run(self) -> Path:
        """TMPDIR."""
        return self._at(TMP_VOLUME) / "run"

    @property
    def identity(self) -> Path:
        """The folder of the identity token."""
        return self._at(TMP_VOLUME) / "identity"

    @property
    def identity_token(self) -> Path:
        """What the egress plane knows the pod by."""
        return self.identity / "token"

    @property
    def service_account_token(self) -> Path:
        """Projected by the kubelet, in the init container only."""
        return self._at(SERVICE_ACCOUNT_TOKEN)

    @property
    def termination_log(self) -> Path:
        """Where Kubernetes looks for a container's last words."""
        return self._at("/dev/termination-log")

    @property
    def sealed(self) -> Path:
        """The folder of the serving container's termination log, which no agent may enter."""
        return self._at(TERMINATION_LOG).parent

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that the init container makes, one below each volume's root."""
        return self.work, self.claude, self.home, self.run, self.identity
