"""The `bertbundle` command."""
