"""Run `bertbundle-serve` as ``python -m bertbundle_serving``."""

from bertbundle_serving.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
