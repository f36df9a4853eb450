"""`python -m npm_core VERB`: every step of the workflow, and the user's own tools."""

import sys

from npm_core.cli import main

sys.exit(main())
