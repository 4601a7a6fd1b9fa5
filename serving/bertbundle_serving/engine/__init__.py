"""Compute calls in batches, in worker threads."""
