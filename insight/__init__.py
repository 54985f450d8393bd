"""What the data can tell: of a policy that was not in force, and of whom it pays to treat. Refuses where it cannot."""
