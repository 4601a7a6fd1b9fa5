"""Reading data files: rows of any kind, and labelled examples of each task."""
