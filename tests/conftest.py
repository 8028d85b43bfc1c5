"""Set-up of all tests: no network, the same examples in every run, no limit on a busy machine."""

import os

from hypothesis import settings

# Read when huggingface_hub is first imported, hence here.
os.environ["HF_HUB_OFFLINE"] = "1"

settings.register_profile("project", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("project")
