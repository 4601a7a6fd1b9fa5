"""`client.pipeline()`: answers in the shape of the transformers pipelines."""
