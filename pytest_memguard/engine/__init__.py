"""Runs a subject again, reads settled counters, and stops when the ladder says so; knows no test runner."""
