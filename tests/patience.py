"""How long a test waits for what must come. Nothing may depend on a machine not being busy, and what has come ends the wait."""

from __future__ import annotations

PATIENCE_S = 120.0
"""Below the 300 s of a test (pyproject.toml), so that it is said what has not come."""
