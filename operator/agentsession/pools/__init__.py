"""AgentPool: runners whose agents are connected before a session asks for one."""
