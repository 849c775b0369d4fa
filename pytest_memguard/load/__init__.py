"""Load for a service: what to send and when, the engines that send it, and what was measured of it."""
