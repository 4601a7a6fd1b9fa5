"""Where a checkpoint comes from: a hub, an archive, a cache, the files beside it."""
