"""Run the `bertbundle` command: ``python -m bertbundle``."""

import sys

from bertbundle.cli import main

sys.exit(main())
