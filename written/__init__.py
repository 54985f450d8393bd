"""What people write in YAML: read as a tree that remembers places, and mistakes told by their places."""
