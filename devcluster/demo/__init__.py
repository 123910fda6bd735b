"""The demonstration: two tenants, four sessions, a scripted model, on a real Kubernetes."""
