"""Run the `bertbundle` command: ``python -m bertbundle``."""

import sys

from bertbundle.cli.main import main

sys.exit(main())
