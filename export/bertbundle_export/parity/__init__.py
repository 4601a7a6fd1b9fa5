"""Compare the outputs of an exported format with the source model's."""
