"""`config show`, `config path`: what a cluster and its nodes were told, without the secret."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dynazmq import paths
from dynazmq.cli import OK
from dynazmq.cli.terminal import DIM, emit, paint, say
from dynazmq.cli.words import choose
from dynazmq.errors import ClusterError
from dynazmq.paths import ClusterFile


def show(directory: Path, patterns: Sequence[str], *, all_: bool, at_random: bool, as_json: bool) -> int:
    """The cluster's settings; of nodes theirs, when some are named."""
    cluster = ClusterFile.load(directory)
    found: dict[str, dict[str, Any]] = {}
    if patterns or all_ or at_random:
        for name in choose(patterns, list(cluster.members), all_=all_, at_random=at_random):
            config = paths.load_node_config(paths.config_path(directory, name))
            found[name] = _plain(asdict(config))
    if as_json:
        document = {"dir": str(directory), "cluster": _plain(asdict(cluster))}
        emit("config", {**document, **({"nodes": found} if found else {})})
        return OK
    if not found:
        _say(cluster.name, str(directory / "cluster.json"), _plain(asdict(cluster)))
    for name, settings in found.items():
        _say(name, str(paths.config_path(directory, name)), settings)
    return OK


def path(directory: Path, patterns: Sequence[str], *, all_: bool, at_random: bool, as_json: bool) -> int:
    """Where they are; with --json also everything else of a cluster."""
    cluster = ClusterFile.load(directory)
    named = bool(patterns or all_ or at_random)
    names = choose(patterns, list(cluster.members), all_=all_, at_random=at_random) if named else []
    if as_json:
        where = {
            "dir": str(directory),
            "cluster": str(directory / "cluster.json"),
            "run": str(paths.runtime_dir(directory)),
            "supervisor_log": str(paths.supervisor_log(directory)),
        }
        nodes = {
            name: {
                "config": str(paths.config_path(directory, name)),
                "data": str(paths.node_dir(directory, name) / "data.db"),
                "log": str(paths.node_log(directory, name)),
            }
            for name in names or cluster.members
        }
        emit("paths", {**where, "nodes": nodes})
        return OK
    for each in [paths.config_path(directory, name) for name in names] or [directory / "cluster.json"]:
        say(str(each))
    return OK


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """As JSON has them, and no secret."""
    settings = {name: value for name, value in settings.items() if name != "secret"}
    settings["cluster_id"] = f"{settings['cluster_id']:016x}"
    return settings


def _say(name: str, file: str, settings: dict[str, Any]) -> None:
    say(f"{name}  {paint(file, DIM)}")
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and key == "timing":
            flat |= {f"timing.{part}": each for part, each in value.items()}
        else:
            flat[key] = value
    width = max(map(len, flat))
    for key, value in flat.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        say(f"  {paint(key.ljust(width), DIM)}  {text}")


def redacted(text: str) -> str:
    """A configuration file as it is, without its secret; also of one that is damaged. Raises ClusterError for no text."""
    import re

    try:
        return re.sub(r'("secret"\s*:\s*)"[^"]*("|$)', r'\1"(removed)"', text)
    except TypeError:
        raise ClusterError("not a configuration") from None
