"""The API (agentsession.io/v1alpha1): pydantic models are its only source; schema.py turns them into CRDs."""
