"""Instances of journeys with states: what moves them, and what they bring about; effects are carried out by others."""
