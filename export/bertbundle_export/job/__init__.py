"""One export from plan to verified bundle."""
