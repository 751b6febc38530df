"""Spans of generative AI: what OpenTelemetry calls their parts, and trajectories told in them.

Nothing here needs OpenTelemetry: a `Span` is a plain value, which an integration or a format takes
from a wire or puts on one.
"""
