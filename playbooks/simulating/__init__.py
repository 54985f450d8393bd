"""Simulation: what a playbook's journeys could do to anybody, and what another one would have done to everybody."""
