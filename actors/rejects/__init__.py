"""What could not be accepted: kept with its reason, and told."""
