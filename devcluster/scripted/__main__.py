"""Command line: ``python -m devcluster.scripted --port 8000 [--script FILE]``."""

import argparse
import asyncio
import logging
import signal
from pathlib import Path

from devcluster.scripted import script
from devcluster.scripted.markers import ScriptError
from devcluster.scripted.rules import Rules, load
from devcluster.scripted.server import running


def main() -> None:
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        rules = load(arguments.script) if arguments.script else Rules()
        asyncio.run(_serve(rules, frozenset(arguments.api_key), arguments.host, arguments.port))
    except (OSError, ScriptError) as error:
        raise SystemExit(f"scripted: {error}") from None


async def _serve(rules: Rules, keys: frozenset[str], host: str, port: int) -> None:
    stop = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    async with running(rules, keys=keys, host=host, port=port) as scripted:
        logging.info("listening on %s", scripted.url)
        await stop.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devcluster.scripted",
        description="A scripted Anthropic Messages API for demonstrations and tests.\n"
        "GET /_requests shows what it was sent (?since=SEQ), DELETE /_requests forgets it, GET /_usage sums what it\n"
        "served. Keys are recorded in full: never give it real ones.",
        epilog=script.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 for a free one (default: 8000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--script",
        type=Path,
        metavar="FILE",
        help="for prompts without markers, YAML: rules: [{match: REGEX, steps: [MARKERS, ...]}], first match wins",
    )
    parser.add_argument(
        "--api-key", action="append", default=[], metavar="KEY", help="accept this key; repeatable (default: any)"
    )
    return parser


if __name__ == "__main__":
    main()
