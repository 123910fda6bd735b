"""Soak: as many steps as there is time for, seed after seed."""

import argparse
import logging
import time

from .explore import explore

PART = 1000


def main() -> None:
    """Ends with the first seed that fails, and how to have it again."""
    parser = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="to make in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help=f"of the first {PART}; each {PART} has the next one")
    chosen = parser.parse_args()
    logging.disable(logging.ERROR)
    made, seed, began = 0, chosen.seed, time.monotonic()
    while made < chosen.steps:
        steps = min(PART, chosen.steps - made)
        try:
            done, idle = explore(seed, steps)
        except BaseException:
            print(f"again: PYTHONHASHSEED=0 python -m tests.machine --seed {seed} --steps {steps}", flush=True)
            raise
        made += steps
        seconds = time.monotonic() - began
        print(f"seed {seed}: {done} steps, {idle} with nothing to do; {made} in {seconds:.0f} s", flush=True)
        seed += 1


if __name__ == "__main__":
    main()
