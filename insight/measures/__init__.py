"""What the business is measured by, from the log's own exports: each figure with what it is made of."""
