"""AgentSession: Claude Agent SDK sessions as Kubernetes objects."""
