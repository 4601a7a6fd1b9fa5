"""Models and their versions: found on disk, loaded, warmed up, unloaded."""
