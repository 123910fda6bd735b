"""`python -m tests.machine SEED STEPS`: the same steps again, or others. With PYTHONHASHSEED=0 a run can be repeated."""

import logging
import sys

from .explore import explore

logging.disable(logging.ERROR)
print(explore(int(sys.argv[1]), int(sys.argv[2])))
