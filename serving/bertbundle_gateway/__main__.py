"""`python -m bertbundle_gateway` runs the command `bertbundle-gateway`."""

import sys

from bertbundle_gateway.cli import main

sys.exit(main())
