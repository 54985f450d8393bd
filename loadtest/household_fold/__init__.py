"""The household fold, one job for many engines with known answers: its events, its marks and, as YAML, its playbook."""
