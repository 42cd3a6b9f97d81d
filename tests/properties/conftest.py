"""How Hypothesis runs here: the same examples every time, so that a failure is a change's and not the day's.

``HYPOTHESIS_PROFILE=explore`` looks further, at random.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=40, suppress_health_check=_CHECKS)
settings.register_profile("explore", deadline=None, max_examples=1000, suppress_health_check=_CHECKS)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
