"""The pure core: state, features, apply and decide. Knows no Ray, no gRPC, no clock and no disk."""
