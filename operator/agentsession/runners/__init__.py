"""Runners as controllers see them. What a runner answers may be the agent's word and is treated so."""
