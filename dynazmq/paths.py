"""Where a cluster lives on disk, and the file that says what it is.

    DIR/                    one cluster (default: the platform's state directory, `dynazmq/default`)
      cluster.json          identity, settings and members; mode 0600: it holds the secret
      staged.json           changes of the members that are planned and not committed
      faults.json           faults that are switched on; not there while none is
      supervisor.json       who supervises, which processes run; supervisor.lock  supervisor.log
      events.jsonl          what happened (cluster/observe/events.py); events.jsonl.1 what happened before
      nodes/NAME/           config.json  data.db  lock  node.log: everything that one node owns
      removed/NAME-…/       what a node still held when it was removed by force
      run/                  sockets, unless the path would be too long for one; a file where the file system has none

    .chosen.json            beside the clusters of the state directory: which one is meant where nothing is said (`cluster use`)

Client, supervisor and command line all find things through this module, so both ends derive the same path.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dynazmq import durable, home, users
from dynazmq.config import MEMBERS_MAX, PARTITIONS_MAX, PARTITIONS_MIN, VALUE_BYTES_MAX, NodeConfig, Timing
from dynazmq.errors import ClusterError, InvalidRequest, NoSuchCluster

SOCKET_PATH_BYTES_MAX = 103
"""sun_path holds 107 bytes on Linux, 103 on macOS; longer ones are hashed into a short directory."""

SOCKET_NAME_BYTES_MAX = 32 + len("/.sock")
"""What is kept free behind the directory: the longest node name there may ever be, so that all sockets are in one place."""

_SHORT = Path("/tmp")

_ATTEMPTS = 20

DIRECTORY_BYTES_MAX = 400
"""Of a cluster's directory. SQLite opens no path of more than 504 bytes; what is below the directory has a hundred of its own."""

NODE_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,31}")

_CHOSEN = ".chosen.json"  # no cluster's name begins with a dot


def cluster_dir(directory: str | os.PathLike[str] | None = None, name: str | None = None) -> Path:
    """The cluster's directory: `directory`, else DYNAZMQ_DIR, else the chosen one, else "default" in the state directory.

    name: the one of that name in the state directory. Raises ClusterError when it cannot be read which one was chosen,
    InvalidRequest for a directory in which none can be, and for an empty path, which would be whatever directory one is in.
    """
    if directory == "":
        raise InvalidRequest("the path of the cluster's directory is empty")
    if directory is None and name is None:
        directory = os.environ.get("DYNAZMQ_DIR") or None
    if directory is not None:
        wanted = home.expanded(Path(directory))
        try:
            found = canonical(wanted)
        except ValueError:  # a null byte, half a surrogate pair
            raise InvalidRequest(f"{str(wanted)!a} is no path: say another one with --dir") from None
        return _usable(found)
    return _usable((None if name else chosen()) or home.state_dir() / (name or "default"))


def _usable(directory: Path) -> Path:
    """Its path goes into endpoints, JSON and lines for people, so it is text and breaks none. Raises InvalidRequest."""
    called = str(directory)
    if not called.isprintable():  # neither is what no UTF-8 was
        shown = ascii(called)
        raise InvalidRequest(f"a cluster's directory has a path of printable UTF-8, not {shown}; choose another one with --dir")
    if (size := len(os.fsencode(directory))) > DIRECTORY_BYTES_MAX:
        raise InvalidRequest(
            f"the path of a cluster's directory is {DIRECTORY_BYTES_MAX} bytes at most, not {size} ({called[:60]}…); choose a "
            "shorter one with --dir"
        )
    return directory


def canonical(directory: Path) -> Path:
    """The one spelling of its path, whatever links and dots lead there: sockets and processes are named by it."""
    return Path(os.path.realpath(directory))


def is_meant(directory: Path) -> bool:
    """Whether commands find this cluster where they are not told which."""
    try:
        return directory == cluster_dir()
    except (ClusterError, InvalidRequest):
        return False


def where(directory: Path) -> str:
    """What names the directory in a command to type next, " --dir DIR"; nothing where the command line finds it by itself."""
    return "" if is_meant(directory) else f" --dir {shlex.quote(str(directory))}"


def chosen() -> Path | None:
    """The directory that `choose` was told. Raises ClusterError: to go on with another cluster would be worse."""
    path = home.state_dir() / _CHOSEN
    try:
        found = Path(json.loads(path.read_text())["dir"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ClusterError(f"cannot read {path}: {error}; forget it with: dynazmq cluster use --default") from None
    if not found.is_absolute():
        raise ClusterError(f"{path} names no directory: {found}; forget it with: dynazmq cluster use --default")
    return found


def choose(directory: Path | None) -> None:
    """Let this cluster be meant where nothing is said; None: the default one again. Raises OSError."""
    path = home.state_dir() / _CHOSEN
    if directory is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    durable.write_text(path, json.dumps({"dir": str(directory)}) + "\n")


def node_dir(directory: Path, name: str) -> Path:
    return directory / "nodes" / name


def config_path(directory: Path, name: str) -> Path:
    return node_dir(directory, name) / "config.json"


def node_log(directory: Path, name: str) -> Path:
    return node_dir(directory, name) / "node.log"


def faults_path(directory: Path) -> Path:
    return directory / "faults.json"


def removed_dir(directory: Path) -> Path:
    return directory / "removed"


def supervisor_log(directory: Path) -> Path:
    return directory / "supervisor.log"


def supervisor_socket(directory: Path) -> Path:
    return runtime_dir(directory) / "supervisor.sock"


def runtime_dir(directory: Path) -> Path:
    """The directory for this cluster's sockets: DIR/run, or a hashed one of its user's, `elsewhere`, when that path is too long,
    or DIR/run is a file: then the file system there has no sockets.
    """
    return _near(directory) or elsewhere(directory)


def elsewhere(directory: Path) -> Path:
    """The directory for sockets that cannot be in the cluster's own."""
    import hashlib  # it loads OpenSSL, which takes longer than all the rest of this module: few clusters need it

    digest = hashlib.blake2b(os.fsencode(canonical(directory)), digest_size=8).hexdigest()
    return _short_dir(directory) / digest


def is_near(directory: Path) -> bool:
    """Whether this cluster's sockets are in its own directory."""
    return _near(directory) is not None


def _near(directory: Path) -> Path | None:
    """DIR/run, if sockets can be there."""
    near = canonical(directory) / "run"
    too_long = len(os.fsencode(near)) + SOCKET_NAME_BYTES_MAX > SOCKET_PATH_BYTES_MAX
    return None if too_long or os.path.isfile(near) else near


def put_sockets_elsewhere(directory: Path) -> None:
    """From now on `runtime_dir` says so, to whoever asks. Raises OSError."""
    near = directory / "run"
    if near.is_dir():
        near.rmdir()  # it was moved here
    durable.write_text(near, f"This file system has no Unix sockets. Those of this cluster are in {elsewhere(directory)}\n")


def make_private(path: Path) -> None:
    """Make a directory that only this user can enter. Raises ClusterError when somebody else owns it already."""
    if not _is_short(path):
        _make_private(path, Path.stat)
        return
    for left in reversed(range(_ATTEMPTS)):
        try:
            for part in (path.parent, path):
                _make_private(part, Path.lstat, alone=True)  # a link in /tmp may be another user's trap
            return
        except FileNotFoundError:  # the last cluster that had sockets there has just ended, and removed it
            if not left:
                raise ClusterError(f"cannot make the directory {path}: others remove {path.parent} again and again") from None


def _make_private(part: Path, look: Callable[[Path], os.stat_result], alone: bool = False) -> None:
    """alone: its parent is there, or FileNotFoundError is raised."""
    try:
        with suppress(FileExistsError):  # of what it is, the next lines judge
            part.mkdir(mode=0o700, parents=not alone)
        found = look(part)
        if stat.S_ISDIR(found.st_mode) and found.st_uid == users.me():
            if stat.S_IMODE(found.st_mode) & 0o077:
                part.chmod(0o700)
            return
    except OSError as error:
        if alone and isinstance(error, FileNotFoundError):
            raise
        raise ClusterError(f"cannot make the directory {part}: {error.strerror}") from None
    raise _trap(part, found)


def remove_private(path: Path) -> None:
    """Remove a directory that `make_private` made, unless something is in it."""
    for part in (path, path.parent) if _is_short(path) else (path,):
        try:
            part.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return


def check_private(path: Path, directory: Path) -> None:
    """For who is about to talk to what listens there: in /tmp another user may have made one for us to fall into, while no
    cluster runs. Raises ClusterError.
    """
    if not _is_short(path):
        return  # below the cluster's directory, which is as much its user's as what it says
    owner = users.owner_of(directory)
    owner = users.me() if owner is None else owner  # another start may be making the cluster just now
    for part in (path.parent, path):
        try:
            found = part.lstat()
        except OSError:
            return  # nothing is there to talk to
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
            raise _trap(part, found)


def _trap(part: Path, found: os.stat_result) -> ClusterError:
    what = "is a link" if stat.S_ISLNK(found.st_mode) else "is a directory" if stat.S_ISDIR(found.st_mode) else "is a file"
    near_max = SOCKET_PATH_BYTES_MAX - SOCKET_NAME_BYTES_MAX - len("/run")
    short = f" with a path of {near_max} bytes at most" if part.is_relative_to(_SHORT) and part.name != "run" else ""
    return ClusterError(
        f"{part} is to hold this cluster's sockets, and {what} of {users.name_of(found.st_uid)}'s: have it removed, or choose "
        f"another --dir{short}"
    )


def _short_dir(directory: Path) -> Path:
    """Of the cluster's user, whoever looks. Short on purpose; made 0700 and checked by make_private, since in /tmp anyone may
    have been there before us.
    """
    try:
        owner = os.stat(directory / "cluster.json").st_uid
    except OSError:
        owner = users.me()
    return _SHORT / f"dynazmq-{owner}"


def _is_short(path: Path) -> bool:
    return path.parent.parent == _SHORT and path.parent.name.startswith("dynazmq-")


def socket_files(name: str) -> tuple[str, ...]:
    """All that a node makes in the directory for sockets (wire/door.py)."""
    return f"{name}.sock", f"{name}.peer", f"{name}.next"


def has_cluster(directory: Path) -> bool:
    """Whether there is one in it. Raises NotPermitted where that may not be seen."""
    try:
        os.stat(directory / "cluster.json")
        return True
    except PermissionError:
        raise users.refused(directory, directory) from None
    except OSError:
        return False


def ipc_endpoint(directory: Path, name: str) -> str:
    return f"ipc://{runtime_dir(directory) / (name + '.sock')}"


@dataclass(slots=True, kw_only=True)
class ClusterFile:
    """cluster.json: what was decided when the cluster was created, and who belongs to it now.

    members: name → endpoint, of all that have a process or shall have one. founders: those with whom it began (NodeConfig).
    former: names of those that have left; none is used twice, since the nodes remember for good that its bearer is gone.
    home: the directory in which it was last started; "" where an earlier release did that.

    The file may have been copied, moved or given to another user, with all that is beside it. So what it says of sockets is not
    believed: they are where those of the directory belong now.
    """

    name: str
    cluster_id: int
    secret: bytes
    partitions: int = 120
    n: int = 3
    r: int = 2
    w: int = 2
    sync: str = "full"
    transport: str = "ipc"
    anti_entropy: str = "on"
    max_value_bytes: int = VALUE_BYTES_MAX
    members: dict[str, str] = field(default_factory=dict)
    founders: list[str] = field(default_factory=list)
    former: list[str] = field(default_factory=list)
    home: str = ""

    @classmethod
    def load(cls, directory: Path) -> ClusterFile:
        """Read DIR/cluster.json. Raises NoSuchCluster when there is none, ClusterError when it cannot be read."""
        path = directory / "cluster.json"
        try:
            cluster = cls(**_fields(path, cls))
            _check(cluster)
            cluster.founders = cluster.founders or list(cluster.members)  # of a release without: members did not change then
            if cluster.transport == "ipc":
                cluster._place_sockets(directory)
            return cluster
        except (FileNotFoundError, NotADirectoryError):
            raise NoSuchCluster(none_in(directory)) from None
        except PermissionError:
            raise users.refused(path, directory) from None
        except (OSError, ValueError) as error:
            raise ClusterError(f"cannot read {path}: {error}") from None

    def _place_sockets(self, directory: Path) -> None:
        """Raises ClusterError when somebody else has made the directory in which they would be."""
        told = {Path(endpoint.removeprefix("ipc://")).parent for endpoint in self.members.values()}
        run = told.pop() if len(told) == 1 else None
        at_home = self.home == str(canonical(directory))
        if run is None or not at_home or _near(directory) is not None or run.parent != _short_dir(directory):
            run = runtime_dir(directory)
            self.members = {name: f"ipc://{run / (name + '.sock')}" for name in self.members}
        check_private(run, directory)

    def save(self, directory: Path) -> None:
        raw = asdict(self)
        raw["secret"] = self.secret.hex()
        raw["cluster_id"] = f"{self.cluster_id:016x}"
        durable.write_text(directory / "cluster.json", json.dumps(raw, indent=2) + "\n")

    def original(self, directory: Path) -> Path | None:
        """Of which directory this one is a copy: the one in which the cluster was last started, if it is there still."""
        home = Path(self.home)
        if not self.home or home == directory:
            return None
        try:
            if os.path.samefile(home, directory) or ClusterFile.load(home).cluster_id != self.cluster_id:
                return None
        except (OSError, ClusterError):
            return None
        return home


def is_missed(directory: Path) -> bool:
    """Whether it was chosen as the one that is meant, so that something is wrong when there is none in it."""
    return not os.environ.get("DYNAZMQ_DIR") and is_meant(directory) and directory == chosen()


def none_in(directory: Path) -> str:
    """What to say where no cluster is, with what to type."""
    if is_missed(directory):
        back = "or go back to the default one with: dynazmq cluster use --default"
        return f"the chosen cluster is gone: there is none in {directory}; start it anew with: dynazmq up, {back}"
    if os.path.lexists(directory) and not directory.is_dir():
        return f"no cluster in {directory}, which is no directory"
    return f"no cluster in {directory}; start one with: dynazmq cluster up -n 5"


def save_node_config(path: Path, config: NodeConfig) -> None:
    """Write a node's configuration (nodes/NAME/config.json), as `load_node_config` and the node itself read it."""
    raw = asdict(config)
    raw["secret"] = config.secret.hex()
    raw["cluster_id"] = f"{config.cluster_id:016x}"
    durable.write_text(path, json.dumps(raw, indent=2) + "\n")


def load_node_config(path: Path) -> NodeConfig:
    """Raises ClusterError when the file is missing or not one of ours."""
    try:
        return NodeConfig(**_fields(path, NodeConfig))
    except (OSError, ValueError) as error:
        raise ClusterError(f"cannot read {path}: {error}") from None


# --- what may stand in these files ------------------------------------------------------------------------------------------
# Somebody may have edited them, cut them off, or put those of another release there. Nothing of them is used before all of it
# fits: names of members become parts of paths.

_KINDS: dict[str, type | tuple[type, ...]] = {
    "int": int, "float": (int, float), "str": str, "bytes": bytes, "dict[str, str]": dict, "list[str]": list, "Timing": Timing,
}  # fmt: skip


def _fields(path: Path, record: type[ClusterFile | NodeConfig]) -> dict[str, Any]:
    """Raises OSError, ValueError with what does not fit."""
    try:
        raw = json.loads(path.read_text())
    except RecursionError:
        raise ValueError("it is no such file: lists in lists in lists") from None
    except ValueError as error:
        raise ValueError(f"it is cut off, or no JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ValueError("it holds no names with values")
    for name, of_hex in (("secret", bytes.fromhex), ("cluster_id", lambda digits: int(digits, 16))):
        try:
            raw[name] = of_hex(raw[name])
        except KeyError:
            raise ValueError(f"{name} is missing") from None
        except (ValueError, TypeError):
            raise ValueError(f"{name} is no text of hexadecimal digits") from None
    if "timing" in raw:
        raw["timing"] = Timing(**_checked(raw["timing"], Timing))
    return _checked(raw, record)


def _checked(raw: Any, record: type[ClusterFile | NodeConfig | Timing]) -> dict[str, Any]:
    """Raises ValueError."""
    if not isinstance(raw, dict):
        raise ValueError(f"{record.__name__.lower()} is {raw!r} and holds no names with values")
    known = {each.name: each for each in fields(record)}
    if unknown := sorted(raw.keys() - known.keys()):
        raise ValueError(f"this release does not know what {unknown[0]!r} is: use the release that wrote it")
    for name, value in raw.items():
        kind = str(known[name].type)
        parts = [*value, *(value.values() if isinstance(value, dict) else ())] if isinstance(value, dict | list) else []
        if not isinstance(value, _KINDS[kind]) or isinstance(value, bool) or not all(isinstance(part, str) for part in parts):
            raise ValueError(f"{name} is {value!r} and not of the kind {kind}")
    for name in ("name", "cluster_id", "data_dir", "endpoint"):
        if name in known and name not in raw:
            raise ValueError(f"{name} is missing")
    return raw


def _check(cluster: ClusterFile) -> None:
    """Raises ValueError."""
    n = cluster.n
    fits = {
        "name": 1 <= len(cluster.name) <= 64 and cluster.name.isprintable(),
        "cluster_id": 0 < cluster.cluster_id < 1 << 64,
        "partitions": PARTITIONS_MIN <= cluster.partitions <= PARTITIONS_MAX,
        "n": 1 <= n <= MEMBERS_MAX,
        "r": 1 <= cluster.r <= n,
        "w": 1 <= cluster.w <= n,
        "sync": cluster.sync in ("full", "normal"),
        "transport": cluster.transport in ("ipc", "tcp"),
        "anti_entropy": cluster.anti_entropy in ("on", "off"),
        "max_value_bytes": cluster.max_value_bytes > 0,
        "members": 1 <= len(cluster.members) <= MEMBERS_MAX and all(map(NODE_NAME.fullmatch, cluster.members)),
        "founders": all(map(NODE_NAME.fullmatch, cluster.founders)),
        "home": "\0" not in cluster.home,
    }
    if wrong := [name for name, fit in fits.items() if not fit]:
        raise ValueError(f"{wrong[0]} cannot be {getattr(cluster, wrong[0])!r}")
    for member, endpoint in cluster.members.items():
        if not endpoint.startswith(("ipc://", "tcp://")) or "\0" in endpoint:
            raise ValueError(f"{member} cannot be at {endpoint!r}")
