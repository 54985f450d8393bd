"""What stands in a log: payloads as bytes and as values, and how records become state."""
