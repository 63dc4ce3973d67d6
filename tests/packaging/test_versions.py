"""Versions, pins and licences agree across the repository."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if TYPE_CHECKING:
    from tests.packaging.conftest import Package


def pins(root: Path) -> dict[str, Version]:
    """Distribution -> the version that constraints.txt pins."""
    found: dict[str, Version] = {}
    for line in lines(root / "constraints.txt"):
        requirement = Requirement(line)
        (pin,) = requirement.specifier
        assert pin.operator == "==", f"{line}: constraints pin exact versions"
        assert canonicalize_name(requirement.name) not in found, f"{line}: pinned twice"
        found[canonicalize_name(requirement.name)] = Version(pin.version)
    return found


def lines(file: Path) -> list[str]:
    """Those with content."""
    stripped = (line.strip() for line in file.read_text().splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def test_every_package_reads_the_one_version(root: Path, package: Package) -> None:
    tool = tomllib.loads((package.directory / "pyproject.toml").read_text())["tool"]
    assert package.project["dynamic"] == ["version"]
    assert (package.directory / tool["hatch"]["version"]["path"]).resolve() == root / "VERSION"


def test_the_version_is_told_everywhere(root: Path) -> None:
    version = (root / "VERSION").read_text().strip()
    assert len(Version(version).release) == 3
    assert f"version: {version}\n" in (root / "CITATION.cff").read_text()
    assert f"## [{version}]" in (root / "CHANGELOG.md").read_text()


def test_modalities_want_the_core_of_the_same_minor_version(
    root: Path, packages: list[Package]
) -> None:
    version = Version((root / "VERSION").read_text().strip())
    minor = (version.major, version.minor)
    allowed = [version, Version(f"{minor[0]}.{minor[1]}.999")]
    refused = [Version(f"{minor[0]}.{minor[1] + 1}.0"), Version(f"{minor[0] + 1}.0.0")]
    if version.minor > 0:
        refused.append(Version(f"{minor[0]}.{minor[1] - 1}.999"))
    for package in packages[1:]:
        (core,) = (one for one in package.required if one.name == "flowatlas")
        assert all(core.specifier.contains(one) for one in allowed), package.name
        assert not any(core.specifier.contains(one) for one in refused), package.name


def test_constraints_satisfy_every_package(root: Path, packages: list[Package]) -> None:
    pinned = pins(root)
    ours = {package.name for package in packages}
    for package in packages:
        for requirement in package.required + package.optional:
            name = canonicalize_name(requirement.name)
            if name not in ours:
                assert name in pinned, f"{package.name} wants {name}, which is not pinned"
                assert requirement.specifier.contains(pinned[name]), f"{package.name}: {name}"


def test_packages_agree_on_what_they_share(packages: list[Package]) -> None:
    wanted: dict[str, str] = {}
    for package in packages:
        for requirement in package.required + package.optional:
            name, specifier = canonicalize_name(requirement.name), str(requirement.specifier)
            assert wanted.setdefault(name, specifier) == specifier, f"{package.name}: {name}"


def test_tools_and_peers_are_pinned(root: Path) -> None:
    files = sorted((root / "requirements").glob("*.txt"))
    assert [file.name for file in files] == ["dev.txt", "peers.txt"]
    for file in files:
        for line in lines(file):
            assert canonicalize_name(line) in pins(root), f"{file.name}: {line} is not pinned"


def test_torch_is_pinned_without_a_build(root: Path) -> None:
    torch = pins(root)["torch"]
    assert torch.local is None, "a local version such as +cpu exists for one platform alone"


def test_every_package_ships_the_licence(root: Path, package: Package) -> None:
    text = (root / "LICENSE").read_text()
    assert (package.directory / "LICENSE").read_text() == text
    assert "Apache License" in text and "Version 2.0" in text
    assert package.project["license"] == "Apache-2.0"


def test_all_want_the_same_python(packages: list[Package]) -> None:
    assert {package.project["requires-python"] for package in packages} == {">=3.11"}
