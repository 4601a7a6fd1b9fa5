"""What every stage shares: the manifest, the types that travel between the parts, and the label schemes."""
