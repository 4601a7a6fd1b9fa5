"""What every request passes, whichever API it came by: admission, prediction, metrics."""
