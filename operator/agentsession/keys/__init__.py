"""Ed25519 signing keys made at run time, and the three tokens they sign: grant, call, identity."""
