"""Scenarios: a service, the load on it, and what must hold; started, loaded, watched, judged and stopped as one."""
