"""What a CVM team looks at together: how far journeys came, how often households are contacted, figures over time."""
