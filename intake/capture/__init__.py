"""Capture connectors: an operator's topics, read as a member of a group, decoded, and sent."""
