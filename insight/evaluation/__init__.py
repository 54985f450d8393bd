"""Off-policy evaluation: what a policy would have brought, from decisions that another one made."""
