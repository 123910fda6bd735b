"""All benchmarks, one after the other: figures beside their bars. Nothing is asserted."""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

PARTS = {
    "claims": "claims from a warm pool, beside kubernetes-sigs/agent-sandbox; simulated nodes; 15 minutes",
    "egress": "what the egress plane adds to an answer; loopback only, under a minute",
    "neighbour": "what a hostile session costs another stream; loopback only, about a minute",
    "pools": "how many sessions find a runner ready, and what that costs, by how a pool is sized; simulated, a second",
    "scale": "hundreds and thousands of sessions on simulated nodes, failover, ten thousand objects; 15 minutes",
    "sessions": "what a cold session costs on a real node; needs root; 4 minutes, and what the cluster takes",
    "warm": "from a claim to the first request at the model, beside agent-sandbox; a real node; 4 minutes",
}


def main() -> int:
    """Command line. Returns the number of parts that did not end well."""
    part, *options = sys.argv[1:] or [""]
    if part in PARTS and any(option.startswith("-") for option in options):
        return run(part, options)
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="Each part has options of its own: python -m bench PART --help",
    )
    parser.add_argument(
        "part", nargs="*", choices=[[], *PARTS], metavar="part", help=f"{', '.join(PARTS)}; default: all"
    )
    chosen = parser.parse_args().part or list(PARTS)
    failed, began = 0, time.monotonic()
    for number, part in enumerate(chosen, 1):
        print(f"\n[{number}/{len(chosen)}] {part}: {PARTS[part]}", flush=True)
        failed += run(part) != 0
    print(f"\n{len(chosen) - failed} of {len(chosen)} parts measured in {(time.monotonic() - began) / 60:.1f} minutes")
    return failed


def run(part: str, options: Sequence[str] = ()) -> int:
    """The exit code of a part, measured in a process of its own."""
    with subprocess.Popen([sys.executable, "-m", f"bench.{part}", *options]) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.wait()  # it got the signal too, and cleans up
            raise


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
