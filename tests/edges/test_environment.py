"""bin/environment chooses an interpreter by looking at what runs, and says "ready" when what it made does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from patience import PATIENCE_S

SCRIPT = Path(__file__).parents[2] / "bin" / "environment"


def python(directory: Path, answer: str, status: int = 0, name: str = "python3.11") -> str:
    """A stand-in for an interpreter on PATH that answers the probe: microseconds, version, path."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\necho '{answer}'\nexit {status}\n")
    (directory / name).chmod(0o755)
    return str(directory)


def found(*directories: str) -> str:
    """What find_python says; "" when it finds none."""
    # Without the system's directories, or its own Pythons would be found. sh itself needs none of them.
    ran = subprocess.run(
        ["/bin/sh", "-c", f". '{SCRIPT}'; find_python"],
        env={"PATH": os.pathsep.join(directories)},
        capture_output=True,
        text=True,
        timeout=20,
    )
    return ran.stdout.strip()


def test_of_several_of_one_version_the_fastest_is_taken(tmp_path: Path) -> None:
    slow = python(tmp_path / "a", "1800 3.11 /a/python3.11")
    fast = python(tmp_path / "b", "1250 3.11 /b/python3.11")
    assert found(slow, fast) == "/b/python3.11"
    assert found(fast, slow) == "/b/python3.11"


def test_one_that_is_hardly_faster_does_not_displace_the_first_on_path(tmp_path: Path) -> None:
    first = python(tmp_path / "a", "1300 3.11 /a/python3.11")
    other = python(tmp_path / "b", "1250 3.11 /b/python3.11")
    assert found(first, other) == "/a/python3.11"


def test_one_that_does_not_run_or_is_another_version_is_passed_over(tmp_path: Path) -> None:
    shim = python(tmp_path / "a", "", status=127)
    good = python(tmp_path / "b", "1300 3.11 /b/python3.11")
    newer = python(tmp_path / "c", "100 3.13 /c/python3.13", name="python3.13")
    assert found(shim, good, newer) == "/b/python3.11"
    assert found(newer) == "/c/python3.13"


def test_nothing_that_runs_is_nothing(tmp_path: Path) -> None:
    assert found(python(tmp_path / "a", "", status=1)) == ""


# --- what is made ---------------------------------------------------------------------------------------------------------


@dataclass
class Checkout:
    """One with bin/environment in it, whose pip installs what the tests run with."""

    root: Path
    pip: str

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def make(self, *, installs: bool = True) -> subprocess.CompletedProcess[str]:
        """As bin/dynazmq does, without a network."""
        script = f"""
            set -eu
            . '{SCRIPT}'
            has_uv() {{ false; }}
            find_python() {{ echo '{self.root}/python'; }}
            pip_install() {{ {self.pip if installs else ":"}; }}
            root='{self.root}'
            find_environment
            environment_ready runtime || make_environment runtime
            "$venv/bin/python" -I -c "import dynazmq, zmq"
        """
        return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)

    def ready(self) -> None:
        ran = self.make()
        assert ran.returncode == 0, ran
        assert "environment ready" in ran.stderr
        assert self.make().stderr == "", "and the next one has nothing to do"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "a checkout"
    (root / "dynazmq").mkdir(parents=True)
    (root / "dynazmq/__init__.py").touch()
    shutil.copy(SCRIPT.parents[1] / "requirements.lock", root)
    (root / "python").write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\" --without-pip\n")
    (root / "python").chmod(0o755)
    (root / "those.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return Checkout(root, """cp "$root/those.pth" "$venv"/lib/python3.*/site-packages""")


def cut_off_while_it_was_made(checkout: Checkout) -> None:
    shutil.rmtree(checkout.venv / "bin")
    (checkout.venv / ".dynazmq/made-for").unlink()


def cut_off_while_packages_were_installed(checkout: Checkout) -> None:
    (checkout.venv / ".dynazmq/installing").touch()


def cut_off_before_anything(checkout: Checkout) -> None:
    shutil.rmtree(checkout.venv)
    (checkout.venv / ".dynazmq").mkdir(parents=True)


def of_a_python_that_is_gone(checkout: Checkout) -> None:
    _link(checkout.venv / "bin/python", "/nonexistent/python3.11")


def of_a_python_that_became_another_one(checkout: Checkout) -> None:
    _link(checkout.venv / "bin/python", "/bin/sh")


def moved_with_its_checkout(checkout: Checkout) -> None:
    checkout.root = checkout.root.rename(checkout.root.with_name("elsewhere"))
    (checkout.root / "python").write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\" --without-pip\n")


def without_a_package_though_pip_takes_it_for_there(checkout: Checkout) -> None:
    """A disk that was full while packages were brought up to date."""
    (checkout.venv / ".dynazmq/requirements.lock").unlink()
    for found in checkout.venv.glob("lib/python3.*/site-packages"):
        (found / "zmq.py").write_text("raise ImportError('half of a package')")
        (found / "first.pth").write_text(f"import sys; sys.path.insert(0, {str(found)!r})\n")


def _link(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


@pytest.mark.parametrize(
    "left",
    [
        cut_off_while_it_was_made,
        cut_off_while_packages_were_installed,
        cut_off_before_anything,
        of_a_python_that_is_gone,
        of_a_python_that_became_another_one,
        moved_with_its_checkout,
        without_a_package_though_pip_takes_it_for_there,
    ],
    ids=lambda function: function.__name__,
)
def test_what_a_bad_run_left_is_mended(left: Callable[[Checkout], None], checkout: Checkout) -> None:
    checkout.ready()
    left(checkout)
    ran = checkout.make()
    assert ran.returncode == 0, ran
    assert "making the Python environment anew" in ran.stderr
    assert checkout.make().stderr == ""


def test_packages_that_went_elsewhere_are_no_environment(checkout: Checkout) -> None:
    ran = checkout.make(installs=False)
    assert ran.returncode == 1
    assert "what was installed does not work" in ran.stderr
    assert "PackageNotFoundError" in ran.stderr
    assert "environment ready" not in ran.stderr
    assert not checkout.venv.exists()
    checkout.ready()


def test_a_package_of_another_version_is_no_environment(checkout: Checkout) -> None:
    with open(checkout.root / "requirements.lock", "a") as lock:
        lock.write("pyzmq==0.0.1\n")
    ran = checkout.make()
    assert ran.returncode == 1
    assert "and not 0.0.1" in ran.stderr


def test_of_the_settings_of_pip_and_uv_those_hold_that_say_where_packages_come_from() -> None:
    holds = {
        *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_PROXY"),
        *("PIP_TRUSTED_HOST", "PIP_CACHE_DIR", "PIP_NO_CACHE_DIR", "PIP_CONFIG_FILE", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES"),
        *(
            "UV_INDEX_URL",
            "UV_DEFAULT_INDEX",
            "UV_CACHE_DIR",
            "UV_NATIVE_TLS",
            "UV_INSECURE_HOST",
            "UV_HTTP_TIMEOUT",
            "UV_OFFLINE",
        ),
        *("UV_HTTP_TIMEOUT", "UV_OFFLINE", "UV_PYTHON_INSTALL_DIR", "UV_LINK_MODE", "HTTPS_PROXY", "SSL_CERT_FILE"),
    }
    dropped = {
        *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_DRY_RUN", "PIP_CONSTRAINT", "PIP_REQUIREMENT", "PIP_PYTHON"),
        *("PIP_IGNORE_INSTALLED", "PIP_REQUIRE_HASHES", "PIP_NO_BINARY", "PIP_EDITABLE", "PIP_QUIET", "UV_PYTHON", "UV_TARGET"),
        *("UV_SYSTEM_PYTHON", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_PROJECT_ENVIRONMENT", "UV_NO_BINARY", "UV_EXCLUDE_NEWER"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "PYTHONOPTIMIZE"),
    }
    given = dict.fromkeys(holds | dropped, "a value\nof=two lines")
    ran = subprocess.run(
        ["/bin/sh", "-c", f". '{SCRIPT}'; drop_settings; env"],
        env={**given, "PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    left = {line.partition("=")[0] for line in ran.stdout.splitlines()}
    assert holds <= left
    assert not dropped & left


@pytest.mark.parametrize("bad", ["/nonexistent/place", "relative", "", "/etc/passwd"])
def test_a_directory_for_temporary_files_that_is_none_is_dropped(bad: str) -> None:
    ran = subprocess.run(
        ["/bin/sh", "-c", f'. \'{SCRIPT}\'; umask 777; drop_settings; echo "${{TMPDIR-none}} $(umask)"'],
        env={"PATH": os.environ["PATH"], "TMPDIR": bad}, capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert ran.stdout.split() == ["none", "0077"]
