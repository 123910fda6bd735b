"""A real Kubernetes on one plain Linux machine: for the demo, and for every test that needs an API server.

Nothing but apt, the Go module proxy and PyPI is needed. ``python -m devcluster up`` builds what is missing,
starts the control plane and one node, and ends when a pod could be scheduled; ``down`` removes all of it.
Everything may be killed at any moment: processes are recognised by what they carry (see ``processes``), files
are written whole, and the only way to stop is the one that also works after a crash.
"""
