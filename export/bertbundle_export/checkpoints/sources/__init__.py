"""The sources of a checkpoint: a hub, an archive, a cache, the files beside it."""
