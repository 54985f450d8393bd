"""Taking in what others have: files, topics, and what was rejected before; sent until Hearth has acknowledged it."""
