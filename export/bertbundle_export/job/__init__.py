"""One export: plan it, write each format, verify what was written."""
