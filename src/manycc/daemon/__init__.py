"""A node as a service: its settings from everywhere, going to the background, reload, the system's own ways."""
