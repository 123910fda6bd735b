"""The runner: one Claude Agent SDK session in one locked-down container, driven over HTTP by the operator."""
