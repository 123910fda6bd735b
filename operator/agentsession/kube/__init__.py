"""The only place that talks to the API server: client, watch, cache, work queue, lease, Events."""
