"""Models and their versions: find them on disk, load, warm up and unload them."""
