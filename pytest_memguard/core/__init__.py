"""The pure core: values in, values out; no pytest, no clock, no files, no environment."""
