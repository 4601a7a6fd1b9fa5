"""What a client does without I/O: batches, retries, and one consistent version of the model."""
