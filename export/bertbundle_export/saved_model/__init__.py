"""Writing the SavedModel."""
