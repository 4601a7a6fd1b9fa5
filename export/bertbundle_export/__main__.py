"""Run the `bertbundle-export` command: ``python -m bertbundle_export``."""

import sys

from bertbundle_export.cli import main

sys.exit(main())
