"""AgentSession: observe -> decide (pure) -> act -> one status write."""
