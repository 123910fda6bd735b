"""The only place that talks to the API server: connection, client, watch, cache, work queue, expectations, lease, Events."""
