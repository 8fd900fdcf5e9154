"""Two lengths: what every run has time for, and `pytest tests/fuzz --hypothesis-profile=long`."""

import os

import hypothesis

# Twelve decoders and the routes: more than a million inputs, in about an hour.
hypothesis.settings.register_profile(
    "long",
    deadline=None,
    database=None,
    max_examples=int(os.environ.get("TETHER_FUZZ_EXAMPLES", "90000")),
    suppress_health_check=list(hypothesis.HealthCheck),
)
