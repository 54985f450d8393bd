"""From the YAML and CEL that a business team writes to the immutable plan that households are decided on."""
