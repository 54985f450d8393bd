"""Control groups: who is drawn into which arm, what that withholds, and what exposure would have been."""
