"""Pulls what the egress plane counted, and what it knows of tenants' credentials."""
