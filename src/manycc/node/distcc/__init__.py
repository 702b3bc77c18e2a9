"""Serving distcc's clients: a connection, its request, the plan that is made of it, the reply."""
