"""The operator's side of a runner's HTTP protocol. What a runner answers may be the agent's word and is treated so."""
