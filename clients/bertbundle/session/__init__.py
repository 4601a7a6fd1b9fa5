"""The client's logic without I/O: batches, retries, and agreement on one model version."""
