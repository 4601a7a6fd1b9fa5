"""A web page to try the models, which uses the REST routes of the text API and nothing else."""
