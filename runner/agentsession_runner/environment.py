"""The agent's environment: a literal list, so that nothing of the pod's own leaks into the agent's shell."""

from .layout import Layout


def cli_environment(layout: Layout, egress_url: str) -> dict[str, str]:
    """All variables of the CLI, and of the shells that it starts.

    The SDK lays an environment over the runner's own, so the runner's own is first replaced by this one.
    """
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "SHELL": "/bin/bash",
        "HOME": str(layout.home),
        "TMPDIR": str(layout.run),
        "ANTHROPIC_BASE_URL": egress_url,
        "CLAUDE_CONFIG_DIR": str(layout.claude),
        "CLAUDE_CODE_TMPDIR": str(layout.run),
        "CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "60000",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
        "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
        "CLAUDE_CODE_DISABLE_BUNDLED_SKILLS": "1",
        "CLAUDE_CODE_DISABLE_CRON": "1",
        "CLAUDE_AGENT_SDK_DISABLE_BUILTIN_AGENTS": "1",
    }
