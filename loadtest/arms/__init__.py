"""What the moment is worth: the town's households under three arms, with hidden needs that arise, show and pass."""
