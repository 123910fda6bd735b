"""Pure builders of the objects that a session needs. In: models; out: dicts for server-side apply. No I/O."""
