"""`python -m agentsession_runner contain` is the runner pod's init container, `serve` its container."""

import argparse
import asyncio
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from . import logs
from .environment import cli_environment
from .errors import UnfitError
from .layout import Layout
from .protocol import EXIT_TERMINATED, PORT
from .settings import Settings

log = logging.getLogger(__name__)


def main() -> int:
    """Run one of the two. Returns the exit code; a code of UnfitError comes with a termination message."""
    arguments = _parser().parse_args()
    layout = Layout(arguments.root)
    os.umask(0o077)
    logs.configure()
    # What the SDK logs can quote the conversation, and a pod's log outlives it.
    logging.getLogger("claude_agent_sdk").setLevel(logging.CRITICAL + 1)
    try:
        settings = Settings.from_environ(os.environ)
        os.environ.clear()
        os.environ.update(cli_environment(layout, settings.egress_url))
        if arguments.command == "contain":
            from .contain import contain  # noqa: PLC0415  a session waits for each import: only what is needed

            asyncio.run(contain(settings, layout))
        else:
            from .serve import serve  # noqa: PLC0415

            asyncio.run(serve(settings, layout, arguments.host, arguments.port))
            return EXIT_TERMINATED
    except UnfitError as error:
        log.error("%s", error)
        with suppress(OSError):
            layout.termination_log.write_text(str(error))
        return error.code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agentsession_runner", description="Runs one agent session in a pod.")
    root_help = "folder under which all paths are, to run outside a pod (%(default)s)"
    parser.add_argument("--root", type=Path, default=Path("/"), help=root_help)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("contain", help="make the folders, wait until the pod is contained, get its identity")
    serve_parser = commands.add_parser("serve", help="run the agent and answer the operator's calls until drained")
    serve_parser.add_argument("--host", help="address to listen on (all)")
    serve_parser.add_argument(
        "--port", type=int, default=PORT, help="port to listen on, 0 for a free one (%(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
