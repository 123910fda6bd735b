"""The egress plane: all that a runner can reach. It knows who calls, decides what they may, and adds the credential."""
