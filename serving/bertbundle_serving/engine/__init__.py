"""Computing requests in batches."""
