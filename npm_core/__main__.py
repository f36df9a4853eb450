"""`python -m npm_core VERB`: every step of the workflow, and the user's own tools."""

import sys

from npm_core.cli import main
from npm_core.parallel import exit_on_signals

exit_on_signals()
sys.exit(main())
