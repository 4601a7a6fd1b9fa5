"""Where a checkpoint comes from: a hub, an archive or a cache; and the files beside it."""
