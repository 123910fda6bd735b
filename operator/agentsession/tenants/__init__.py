"""AgentTenant: makes a namespace ready for runners, and says whether the credential can be used."""
