"""What the person in front of the terminal UI chose on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    ascii: bool = False
    read_only: bool = False
    confirm: str = "destructive"  # keys.CONFIRM: what asks before it acts
    theme: str = "dark"  # themes.THEMES
    record: Path | None = None  # what is seen is written there
    replay: Path | None = None  # what was recorded is played from there; nothing of the cluster is touched

    def checked(self) -> Settings:
        """Itself. Raises InvalidRequest."""
        from dynazmq.errors import InvalidRequest
        from dynazmq.tui.keys import CONFIRM
        from dynazmq.tui.themes import THEMES

        for name, value, known in (("--confirm", self.confirm, CONFIRM), ("--theme", self.theme, tuple(THEMES))):
            if value not in known:
                raise InvalidRequest(f"{name} is one of {', '.join(known)}, not {value!r}")
        if self.record and self.replay:
            raise InvalidRequest("--record writes what is seen now and --replay plays what was: choose one")
        return self
