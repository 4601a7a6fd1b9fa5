"""Compute calls in batches, in threads."""
