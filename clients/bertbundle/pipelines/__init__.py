"""`client.pipeline()`: results in the format of the transformers pipelines."""
