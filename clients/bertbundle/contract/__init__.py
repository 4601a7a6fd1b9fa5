"""The contract between the stages: the manifest, the data types passed between modules, and the label schemes."""
