"""Settings of all tests.

`HYPOTHESIS_PROFILE=ci` draws the same examples in every run, so that a build judges its
change and not its luck; without it every run looks for new ones.
"""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
